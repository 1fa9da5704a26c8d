//! The fakes of the harness answer as the real catalog does: each case runs over both, through real
//! sockets. What a fake adds (faults, and a record of what it was sent) is not in here.

mod watch;
mod work;
