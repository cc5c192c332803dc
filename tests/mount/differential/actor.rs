//! Users: threads that make system calls in the name of others.

#![allow(
    unsafe_code,
    reason = "the identity of one thread, which std and nix set for all"
)]

use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A thread with its own user, groups and umask.
#[derive(Debug)]
pub struct Actor(Sender<Job>);

impl Actor {
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Self {
        let (jobs, queue) = channel::<Job>();
        let groups = groups.to_vec();
        thread::spawn(move || {
            // SAFETY: calls on this thread's own identity; the array has the length given. The raw
            // call is meant: the library's would change all threads. For a user other than root
            // the file system identity takes the privileges over files with it.
            unsafe {
                assert_eq!(libc::unshare(libc::CLONE_FS), 0, "unshare");
                assert_eq!(
                    libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
                    0,
                    "setgroups"
                );
                libc::setfsgid(gid);
                libc::setfsuid(uid);
                assert_eq!(
                    libc::setfsuid(u32::MAX),
                    i32::try_from(uid).unwrap(),
                    "setfsuid"
                );
                libc::umask(0o022);
                if uid != 0 {
                    // Of the privileges of root, those over files went with its identity.
                    let header: [u32; 2] = [0x2008_0522, 0];
                    let none = [0u32; 6];
                    let dropped = libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr());
                    assert_eq!(dropped, 0, "capset");
                }
            }
            for job in queue {
                job();
            }
        });
        Self(jobs)
    }

    /// Runs something as this user.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let (tell, answer) = channel();
        let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || drop(tell.send(job())));
        // SAFETY: this function waits for the job's end, so that nothing borrowed ends before; if
        // the job panics, its sender is dropped with it and the wait ends too.
        let job: Job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
        self.0.send(job).expect("the actor's thread has ended");
        answer.recv().expect("the actor's job panicked")
    }
}
