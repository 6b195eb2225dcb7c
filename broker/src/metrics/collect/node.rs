//! The process and the broker as a whole.

use std::sync::atomic::Ordering::Relaxed;

use host::Host;
use wire::ServerHandle;

use crate::broker::Broker;
use crate::metrics::exposition::Pages;
use crate::metrics::names;

pub(super) fn write_process(host: &Host, pages: &mut Pages) {
    let Some(usage) = host.usage() else { return };
    pages.single(&names::PROCESS_CPU, usage.cpu.as_secs_f64());
    pages.single(&names::PROCESS_RESIDENT, usage.resident_bytes as f64);
    pages.single(&names::PROCESS_VIRTUAL, usage.virtual_bytes as f64);
    pages.single(&names::PROCESS_OPEN_FDS, usage.open_files as f64);
    pages.single(&names::PROCESS_MAX_FDS, usage.files_max as f64);
    pages.single(&names::PROCESS_START, usage.start_seconds);
    pages.single(&names::DISK_READ_BYTES, usage.disk_read_bytes as f64);
    pages.single(&names::DISK_WRITE_BYTES, usage.disk_write_bytes as f64);
}

pub(super) fn write(broker: &Broker, pages: &mut Pages) {
    pages.single(&names::BROKER_STATE, f64::from(broker.state()));
    let image = broker.metadata.applied();
    pages.single(&names::METADATA_OFFSET, (image.end_offset - 1) as f64);
    pages.single(&names::METADATA_VERSION, f64::from(image.features.metadata_version().level()));
    if let Some(idle) = broker.metrics.idle_ratio() {
        names::IDLE.iter().for_each(|name| pages.single(name, idle));
    }
    write_listeners(&broker.servers(), pages);
}

fn write_listeners(servers: &[ServerHandle], pages: &mut Pages) {
    let mut family = |name: &names::Name, of: &dyn Fn(&ServerHandle) -> u64| {
        pages.family(name);
        for server in servers {
            let labels = [("listener", server.listener().name.as_str()), ("networkProcessor", "0")];
            pages.sample(&labels, of(server) as f64);
        }
    };
    let open = |server: &ServerHandle| server.connection_count() as u64;
    let accepted = |server: &ServerHandle| server.traffic().accepted.load(Relaxed);
    for name in &names::CONNECTION_COUNT {
        family(name, &open);
    }
    for name in &names::CONNECTION_CREATION {
        family(name, &accepted);
    }
    for name in &names::CONNECTION_CLOSE {
        family(name, &|server| accepted(server).saturating_sub(open(server)));
    }
    family(&names::INCOMING_BYTES, &|server| server.traffic().received_bytes.load(Relaxed));
    family(&names::OUTGOING_BYTES, &|server| server.traffic().sent_bytes.load(Relaxed));
    family(&names::SOCKET_REQUESTS, &|server| server.traffic().requests.load(Relaxed));
}
