//! One file a command: what it asks the cluster, and what it shows.

pub mod broker;
pub mod cluster;
pub mod completions;
pub mod config;
pub mod consume;
pub mod controller;
pub mod group;
pub mod partition;
pub mod produce;
pub mod storage;
pub mod topic;
