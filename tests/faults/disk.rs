//! A disk that can lose its power: an ext4 file system of its own in a file, mounted over a loop device.
//!
//! `EXT4_IOC_SHUTDOWN` without a flush of the journal is what a power cut is to a file system: whatever was not synced stays in
//! memory, nothing more reaches the device, and every later write or sync is EIO. What is there after the next mount was synced,
//! or had been written back by itself.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::network::run;

/// `_IOR('X', 125, __u32)`
const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
const EXT4_GOING_FLAGS_NOLOGFLUSH: u32 = 2;

const SIZE: &str = "512M";
/// Until the last file of a process that was killed is closed.
const UNMOUNTED_WITHIN: Duration = Duration::from_secs(20);
const FILLER: &str = "filler";
/// All directories of disks begin so, and go on with the id of their process.
pub(crate) const PREFIX: &str = "weir-faults-";

pub(crate) struct Disk {
    device: String,
    mount: PathBuf,
}

impl Disk {
    /// A new one, mounted in a new directory; why there cannot be one.
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Disk, String> {
        let (image, mount) = (dir.join(format!("{name}.img")), dir.join(name));
        std::fs::create_dir(&mount).map_err(|e| e.to_string())?;
        let path = image.to_str().expect("a path of ours");
        run(command("truncate", &["-s", SIZE, path]))?;
        run(command("mkfs.ext4", &["-q", "-F", "-m", "0", path]))?;
        let told =
            command("losetup", &["--find", "--show", path]).output().map_err(|e| format!("losetup: {e}"))?;
        if !told.status.success() {
            return Err(String::from_utf8_lossy(&told.stderr).trim().to_owned());
        }
        let disk = Disk { device: String::from_utf8_lossy(&told.stdout).trim().to_owned(), mount };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> Result<(), String> {
        run(command("mount", &[&self.device, self.mount.to_str().expect("a path of ours")]))
    }

    /// The power is gone. Who runs on it sees EIO; everything that was not synced is lost.
    #[allow(unsafe_code)]
    pub(crate) fn power_off(&self) {
        let root = std::fs::File::open(&self.mount).expect("it is mounted");
        let flags = EXT4_GOING_FLAGS_NOLOGFLUSH;
        // SAFETY: the descriptor is open, and the call reads the four bytes of `flags`, which lives longer.
        let told = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
        assert_eq!(told, 0, "shutdown of {}: {}", self.mount.display(), io::Error::last_os_error());
    }

    /// The power is back. Nobody may have a file open any more.
    pub(crate) fn power_on(&self) {
        let deadline = Instant::now() + UNMOUNTED_WITHIN;
        while let Err(why) = run(command("umount", &[self.mount.to_str().expect("a path of ours")])) {
            assert!(Instant::now() < deadline, "{why}");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.mount(), Ok(()), "the file system is sound");
    }

    /// Takes all the room but so many bytes.
    pub(crate) fn fill(&self, left_bytes: i64) {
        let filler =
            std::fs::File::create(self.mount.join(FILLER)).expect("a full disk still has room for a name");
        let mut length = 0;
        let mut step: i64 = 64 << 20;
        while step >= 4096 {
            match fallocate(&filler, length, step) {
                Ok(()) => length += step,
                Err(_) => step /= 2,
            }
        }
        filler
            .set_len(u64::try_from((length - left_bytes).max(0)).expect("not negative"))
            .expect("it becomes shorter");
    }

    /// Gives it back.
    pub(crate) fn make_room(&self) {
        let _ = std::fs::remove_file(self.mount.join(FILLER));
    }
}

#[allow(unsafe_code)]
fn fallocate(file: &std::fs::File, offset: i64, length: i64) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mount = self.mount.to_str().expect("a path of ours");
        // Lazily: a run that failed may have left somebody inside.
        let _ = run(command("umount", &["-l", mount]));
        let _ = run(command("losetup", &["-d", &self.device]));
    }
}

/// Takes away what runs left that were killed before they could.
pub(crate) fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for dir in entries.map(|entry| entry.path()) {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_none_or(|owner| Path::new("/proc").join(owner).exists()) {
            continue;
        }
        for inside in std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let path = inside.to_str().unwrap_or_default();
            if inside.is_dir() {
                let _ = run(command("umount", &["-l", path]));
            } else if let Ok(told) = command("losetup", &["--noheadings", "-O", "NAME", "-j", path]).output()
            {
                let devices = String::from_utf8_lossy(&told.stdout).into_owned();
                devices.lines().for_each(|device| drop(run(command("losetup", &["-d", device.trim()]))));
            }
        }
        let _ = std::fs::remove_dir_all(&dir);
    }
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    use std::io::Write as _;
    sweep();
    let dir = directory();
    let disk = match Disk::new(dir.path(), "cut") {
        Ok(disk) => disk,
        Err(why) => return super::skipped("power cuts", &why),
    };
    let mut file = std::fs::File::create(disk.path().join("log")).expect("there is room");
    file.write_all(b"synced").expect("there is room");
    file.sync_all().expect("the power is on");
    file.write_all(b", not synced").expect("there is room");
    std::fs::write(disk.path().join("new"), b"not synced").expect("there is room");
    disk.power_off();
    file.write_all(b"x").expect_err("there is no power");
    file.sync_all().expect_err("there is no power");
    drop(file);
    disk.power_on();
    let left = std::fs::read(disk.path().join("log")).expect("its name was synced");
    assert_eq!(String::from_utf8_lossy(&left), "synced");
    assert!(!disk.path().join("new").exists(), "nobody synced that name");
    disk.fill(0);
    std::fs::write(disk.path().join("more"), vec![1; 1 << 20]).expect_err("the disk is full");
    disk.fill(8 << 20);
    std::fs::write(disk.path().join("more"), vec![1; 1 << 20]).expect("so much was left");
    disk.make_room();
    std::fs::write(disk.path().join("more"), vec![1; 1 << 20]).expect("there is room again");
}

/// A directory that the next run takes away if this one cannot.
pub(crate) fn directory() -> tempfile::TempDir {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary directory")
}
