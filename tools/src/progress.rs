//! How far long work has come, on a terminal: one line on standard error that is written over, and gone at the end.
//!
//!     resetting  12,000 of 50,000  [#####...............]  24 %
//!
//! Nothing is shown when standard error is no terminal, nor for work that is done within a moment.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use host::{Clock, Instant};

/// Work that is done sooner needs no line.
const SHOWN_AFTER: Duration = Duration::from_millis(500);
const SHOWN_EVERY: Duration = Duration::from_millis(100);
const BAR_CHARS: u64 = 20;

pub struct Progress {
    clock: Clock,
    what: Cow<'static, str>,
    /// None: nobody knows how much there is.
    total: Option<u64>,
    done: u64,
    /// Stands behind the bar.
    detail: String,
    begun: Instant,
    next: Instant,
    /// None: nobody would see it.
    terminal: Option<Box<dyn Write + Send>>,
    is_shown: bool,
}

impl Progress {
    /// Of work on `total` things, on standard error if that is a terminal.
    pub fn new(clock: &Clock, what: impl Into<Cow<'static, str>>, total: Option<u64>) -> Progress {
        let stderr = std::io::stderr();
        let terminal = stderr.is_terminal().then(|| Box::new(stderr) as Box<dyn Write + Send>);
        Progress::on(clock, what.into(), total, terminal)
    }

    /// As `new`; nothing is shown when the records themselves go to the terminal.
    pub fn beside_stdout(clock: &Clock, what: &'static str, total: Option<u64>) -> Progress {
        let mut progress = Progress::new(clock, what, total);
        if std::io::stdout().is_terminal() {
            progress.hide();
        }
        progress
    }

    /// Shows nothing from now on.
    pub fn hide(&mut self) {
        self.clear();
        self.terminal = None;
    }

    fn on(
        clock: &Clock,
        what: Cow<'static, str>,
        total: Option<u64>,
        terminal: Option<Box<dyn Write + Send>>,
    ) -> Progress {
        let begun = clock.now();
        let next = begun + SHOWN_AFTER;
        let detail = String::new();
        Progress {
            clock: clock.clone(),
            what,
            total,
            done: 0,
            detail,
            begun,
            next,
            terminal,
            is_shown: false,
        }
    }

    pub fn add(&mut self, count: u64) {
        self.done += count;
        self.show();
    }

    /// How far work has come that somebody else does: both numbers may go up and down.
    pub fn set(&mut self, done: u64, total: u64, detail: impl Into<String>) {
        (self.done, self.total, self.detail) = (done, Some(total), detail.into());
        self.show();
    }

    fn show(&mut self) {
        let Some(terminal) = &mut self.terminal else { return };
        let now = self.clock.now();
        if now < self.next {
            return;
        }
        self.next = now + SHOWN_EVERY;
        self.is_shown = true;
        let mut line = line(&self.what, self.done, self.total, now - self.begun);
        if !self.detail.is_empty() {
            line.push_str("  ");
            line.push_str(&self.detail);
        }
        // A terminal that went away is no reason to stop working.
        let _ = write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush());
    }

    /// A line of its own on standard error, terminal or not.
    pub fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Takes the line away, so that something else can be written.
    pub fn clear(&mut self) {
        if let Some(terminal) = &mut self.terminal
            && std::mem::take(&mut self.is_shown)
        {
            let _ = write!(terminal, "\r\x1b[K").and_then(|()| terminal.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(what: &str, done: u64, total: Option<u64>, passed: Duration) -> String {
    match total {
        // Nobody knows yet how much there will be.
        Some(0) => what.to_owned(),
        Some(total) => {
            let done = done.min(total);
            let bar = (done * BAR_CHARS / total) as usize;
            let rest = BAR_CHARS as usize - bar;
            let percent = done * 100 / total;
            format!(
                "{what}  {} of {}  [{}{}]  {percent} %",
                grouped(done),
                grouped(total),
                "#".repeat(bar),
                ".".repeat(rest)
            )
        }
        None => {
            let per_second = done as f64 / passed.as_secs_f64().max(0.001);
            format!("{what}  {}  {} per second", grouped(done), grouped(per_second as u64))
        }
    }
}

/// 1234567 as 1.2 MB.
pub fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_work_shows_nothing_and_long_work_a_line_that_goes_away() {
        let screen = Screen::default();
        let seen = screen.clone();
        let world = host::sim::World::new(1);
        let clock = world.host().clock().clone();
        let work = async move {
            let mut progress =
                Progress::on(&clock, "reading".into(), Some(2000), Some(Box::new(screen.clone())));
            progress.add(1000);
            assert!(screen.0.lock().expect("nobody panics").is_empty());
            clock.sleep(SHOWN_AFTER).await;
            progress.add(500);
        };
        world.block_on(SHOWN_AFTER * 2, work).expect("it ends");
        let shown = String::from_utf8(seen.0.lock().expect("nobody panics").clone()).expect("text");
        assert_eq!(shown, "\r\x1b[Kreading  1,500 of 2,000  [###############.....]  75 %\r\x1b[K");
    }

    #[test]
    fn work_of_others_is_shown_with_its_detail_and_may_go_back() {
        let screen = Screen::default();
        let seen = screen.clone();
        let world = host::sim::World::new(1);
        let clock = world.host().clock().clone();
        let work = async move {
            let mut progress = Progress::on(&clock, "copied".into(), None, Some(Box::new(screen)));
            clock.sleep(SHOWN_AFTER).await;
            progress.set(8, 10, "2 B behind");
            clock.sleep(SHOWN_EVERY).await;
            progress.set(8, 20, "");
        };
        world.block_on(SHOWN_AFTER * 2, work).expect("it ends");
        let shown = String::from_utf8(seen.0.lock().expect("nobody panics").clone()).expect("text");
        let expected = "\r\x1b[Kcopied  8 of 10  [################....]  80 %  2 B behind\
                        \r\x1b[Kcopied  8 of 20  [########............]  40 %\r\x1b[K";
        assert_eq!(shown, expected);
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        let told = [0, 999, 1000, 999_949, 999_950, 1_234_567_890].map(bytes_in_words);
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.2 GB"]);
    }

    #[test]
    fn work_without_a_known_end_tells_its_speed() {
        let shown = line("sent", 1_234_567, None, Duration::from_secs(2));
        assert_eq!(shown, "sent  1,234,567  617,283 per second");
    }
}
