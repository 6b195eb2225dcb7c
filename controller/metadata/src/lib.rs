//! Metadata of a cluster: records, the image that they make, and pure questions to it.
//!
//! **Invariant:** deterministic and without I/O. The same records make the same image on every node, whatever their
//! batches, and equal images give equal answers; there are ordered maps only.

pub mod acls;
pub mod chunked;
pub mod client_metrics;
pub mod cluster;
pub mod configs;
pub mod credentials;
mod delta;
pub mod features;
mod image;
mod partition;
mod quorum_status;
pub mod quotas;
pub mod record;
pub mod topic_name;
mod topics;

pub use acls::{Acls, authorize};
pub use cluster::{Broker, Cluster, Controller, Endpoint, FeatureRange};
pub use configs::{ConfigResource, Configs, ResourceType};
pub use credentials::{DelegationTokens, ScramCredentials};
pub use delta::{Changes, Delta};
pub use features::{Features, MetadataVersion};
pub use image::Image;
pub use partition::{LeaderRecoveryState, NO_LEADER, NO_LEADER_CHANGE, NO_RECOVERY_CHANGE, Partition};
pub use quorum_status::QuorumStatus;
pub use quotas::ClientQuotas;
pub use record::Record;
pub use topics::{Topic, Topics};

#[cfg(test)]
mod samples;
