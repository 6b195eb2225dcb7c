//! The clients: the Java client and librdkafka, each with a producer and a member of one group; what they say, as it came.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::history::Event;
use tests::process::runtimes;

/// Records of each producer in a second.
const PER_SECOND: &str = "100";

/// What was said, when, in the order in which it came.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) events: Vec<(Instant, Event)>,
    /// Everything else: errors that clients get over, outcomes that they do not know.
    pub(crate) notes: Vec<(Instant, String)>,
    stopped: usize,
    polled: BTreeMap<i32, i64>,
    acknowledged: BTreeMap<i32, Instant>,
}

pub(crate) struct Load {
    clients: Vec<Child>,
    said: Arc<Mutex<Said>>,
}

impl Load {
    /// Starts the clients on a topic of so many partitions.
    pub(crate) fn start(bootstrap: &str, topic: &str, partitions: i32, protocol: &str) -> Load {
        let said = Arc::new(Mutex::new(Said::default()));
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/faults");
        let programs = [["java", "Load.java"], ["python", "load.py"]];
        let clients = programs.map(|[runtime, program]| {
            // However this process ends, its clients end with it.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(runtimes::script().get_program());
            command.env("KAFKA_HEAP", "-Xms32m -Xmx256m").arg(runtime).arg(format!("{here}/{program}"));
            command.args([bootstrap, topic, &partitions.to_string(), protocol, PER_SECOND]);
            start(command, &said)
        });
        Load { clients: clients.into(), said }
    }

    pub(crate) fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record of each partition was acknowledged after a moment.
    pub(crate) fn is_acknowledged_since(&self, moment: Instant, partitions: i32) -> bool {
        let said = self.said();
        (0..partitions).all(|partition| said.acknowledged.get(&partition).is_some_and(|at| *at > moment))
    }

    /// The next offset of each partition that a member would be given.
    pub(crate) fn polled(&self) -> BTreeMap<i32, i64> {
        self.said().polled.clone()
    }

    /// Producers send no more, and know the outcome of what they sent. Whether they all did in time.
    pub(crate) fn stop_producing(&mut self, within: Duration) -> bool {
        for client in &mut self.clients {
            let _ = client.stdin.as_mut().expect("it was asked for").write_all(b"stop\n");
        }
        let (deadline, clients) = (Instant::now() + within, self.clients.len());
        while Instant::now() < deadline && self.said().stopped < clients {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.said().stopped == clients
    }

    /// Members leave, the programs end. Those that did not in time.
    pub(crate) fn end(&mut self, within: Duration) -> Vec<String> {
        self.clients.iter_mut().for_each(|client| drop(client.stdin.take()));
        let deadline = Instant::now() + within;
        let mut late = Vec::new();
        for client in &mut self.clients {
            loop {
                match client.try_wait().expect("its state can be asked") {
                    Some(status) if status.success() => break,
                    Some(status) => break late.push(format!("a client ended with {status}")),
                    None if Instant::now() > deadline => break late.push("a client does not end".to_owned()),
                    None => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        }
        late
    }

    /// Clients that have ended although nobody asked them to.
    pub(crate) fn ended(&mut self) -> usize {
        self.clients.iter_mut().filter_map(|client| client.try_wait().ok().flatten()).count()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for client in &mut self.clients {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

fn start(mut command: Command, said: &Arc<Mutex<Said>>) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().expect("the launcher runs");
    let output = BufReader::new(client.stdout.take().expect("it was asked for"));
    let errors = BufReader::new(client.stderr.take().expect("it was asked for"));
    let (to, notes) = (Arc::clone(said), Arc::clone(said));
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| hear(&to, &line)));
    std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| hear(&notes, &line)));
    client
}

fn hear(said: &Mutex<Said>, line: &str) {
    let now = Instant::now();
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(event) = event(line) else {
        if line == "stopped" {
            said.stopped += 1;
        } else {
            said.notes.push((now, line.to_owned()));
        }
        return;
    };
    match &event {
        Event::Acknowledged { partition, .. } => drop(said.acknowledged.insert(*partition, now)),
        Event::Polled { partition, offset, .. } => {
            let next = said.polled.entry(*partition).or_default();
            *next = (*next).max(offset + 1);
        }
        _ => {}
    }
    said.events.push((now, event));
}

/// What a line says of a record or a partition; None: something else.
fn event(line: &str) -> Option<Event> {
    let words: Vec<&str> = line.split(' ').collect();
    let word = |at: usize| words.get(at).map(|word| (*word).to_owned());
    let number = |at: usize| words.get(at)?.parse::<i64>().ok();
    let partition = |at: usize| i32::try_from(number(at)?).ok();
    let partitions = || words.get(2..)?.iter().map(|word| word.parse().ok()).collect::<Option<Vec<i32>>>();
    Some(match *words.first()? {
        "sent" => Event::Sent { producer: word(1)?, partition: partition(2)?, value: word(3)? },
        "acked" => Event::Acknowledged {
            producer: word(1)?,
            partition: partition(2)?,
            value: word(3)?,
            offset: number(4),
        },
        "failed" => Event::Failed { producer: word(1)?, partition: partition(2)?, value: word(3)? },
        "assigned" => Event::Assigned { consumer: word(1)?, partitions: partitions()? },
        "revoked" => Event::Revoked { consumer: word(1)?, partitions: partitions()? },
        "polled" => Event::Polled {
            consumer: word(1)?,
            partition: partition(2)?,
            offset: number(3)?,
            value: word(4)?,
        },
        "committed" => Event::Committed { partition: partition(1)?, offset: number(2)? },
        _ => return None,
    })
}
