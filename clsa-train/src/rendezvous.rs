//! How the first of several processes hands a few bytes to the others, before they have another way to talk: they ask for them at
//! an address that all know.

use std::fmt::{Display, Formatter};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// What each process says first, so that nobody else is taken for one of them: these bytes, its number, and its group.
const GREETING: &[u8; 8] = b"clsa-ask";
/// What each process says when it has the bytes.
const RECEIVED: u8 = b'!';
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest that one process that has connected may take for all that it says.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The processes that belong together, by which those of others at the same address are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    processes: u32,
    job: String,
}

impl Group {
    /// The longest name that is told, in bytes.
    const LONGEST_NAME: usize = 256;

    /// So many processes, and the name that their launcher gives to all of them together, if any.
    pub fn new(processes: usize, job: &str) -> Self {
        let mut job = job.to_owned();
        while job.len() > Self::LONGEST_NAME {
            job.pop();
        }
        Self { processes: processes as u32, job }
    }

    /// What its process of this number says first.
    fn greeting(&self, number: usize) -> Vec<u8> {
        let numbers = [number as u32, self.processes, self.job.len() as u32].map(u32::to_le_bytes);
        [&GREETING[..], &numbers.concat(), self.job.as_bytes()].concat()
    }
}

impl Display for Group {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { processes, job } = self;
        if job.is_empty() { write!(f, "{processes} ranks") } else { write!(f, "{processes} ranks of the job {job}") }
    }
}

/// Listens where the first process is to be met, `HOST:PORT`: at a loopback address alone where the host is given as one, and else at all
/// networks of this machine, of any of which the name may be.
///
/// # Errors
/// The port is none, or in use.
pub fn listen(address: &str) -> Result<TcpListener> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(Error::new(ErrorKind::InvalidInput, "no port is named"));
    };
    let port = port.parse::<u16>().map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
    // A machine may know its own name as a loopback address, which the others do not; or as `localhost`, which the others do not call it.
    let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_loopback(host.trim_start_matches('[').trim_end_matches(']')) {
        return TcpListener::bind(address);
    }
    // Linux hears both kinds of addresses at the first, where it has the newer one at all.
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// Hands `bytes` to the processes 1 and up of a group, once to each, until `until`.
///
/// # Errors
/// Not all have asked by then, which names those that have not; or two have asked as the same one.
pub fn hand_out(listener: &TcpListener, group: &Group, bytes: &[u8], until: Instant) -> Result<()> {
    listener.set_nonblocking(true)?;
    let mut waits = vec![true; group.processes.saturating_sub(1) as usize];
    while waits.contains(&true) {
        let is_idle = match listener.accept() {
            Ok((stream, _)) => {
                // Who is not one of them, or goes away, is left.
                if let Ok(Some(number)) = served(&stream, group, bytes) {
                    if !waits[number - 1] {
                        let reason = format!("two processes are rank {number}; give each a number of its own");
                        return Err(Error::new(ErrorKind::AlreadyExists, reason));
                    }
                    waits[number - 1] = false;
                }
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => return Err(error),
        };
        // Also while others come without end.
        if waits.contains(&true) && Instant::now() > until {
            let missing: Vec<String> =
                (1..=waits.len()).filter(|number| waits[number - 1]).map(|number| number.to_string()).collect();
            let which = if missing.len() == 1 { "rank" } else { "ranks" };
            return Err(Error::new(ErrorKind::TimedOut, format!("{which} {} did not come", missing.join(", "))));
        }
        if is_idle {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Answers the process that has connected, and gives its number if it is one of the group and has the bytes: one that has given up waiting
/// takes them only where nobody sees it. One of another group is told which this is.
fn served(mut stream: &TcpStream, group: &Group, bytes: &[u8]) -> Result<Option<usize>> {
    let until = Instant::now() + ANSWER_WITHIN;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let Some((number, theirs)) = greeted(stream, until)? else { return Ok(None) };
    stream.write_all(&group.greeting(0))?;
    if theirs != *group || !(1..group.processes as usize).contains(&number) {
        return Ok(None);
    }
    stream.write_all(bytes)?;
    let mut answer = [0];
    read_until(stream, &mut answer, until)?;
    Ok((answer == [RECEIVED]).then_some(number))
}

/// The number and the group of the process at the other end; none where something else is there.
fn greeted(stream: &TcpStream, until: Instant) -> Result<Option<(usize, Group)>> {
    let mut greeting = [0; GREETING.len()];
    read_until(stream, &mut greeting, until)?;
    if greeting != *GREETING {
        return Ok(None);
    }
    let number = || -> Result<u32> {
        let mut bytes = [0; 4];
        read_until(stream, &mut bytes, until)?;
        Ok(u32::from_le_bytes(bytes))
    };
    let [number, processes, len] = [number()?, number()?, number()?];
    if len as usize > Group::LONGEST_NAME {
        return Ok(None);
    }
    let mut job = vec![0; len as usize];
    read_until(stream, &mut job, until)?;
    Ok(String::from_utf8(job).ok().map(|job| (number as usize, Group { processes, job })))
}

/// Fills `bytes` with what comes until `until`, however slowly.
fn read_until(mut stream: &TcpStream, bytes: &mut [u8], until: Instant) -> Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks for `len` bytes as process `number` of a group, until `until`.
///
/// # Errors
/// Nobody answers by then, or the first process of another group does.
pub fn ask(address: &str, number: usize, group: &Group, len: usize, until: Instant) -> Result<Vec<u8>> {
    loop {
        let error = match ask_once(address, number, group, len) {
            Ok(bytes) => return Ok(bytes),
            // Another group stays another one.
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error),
            Err(error) => error,
        };
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::TimedOut, format!("{address} does not answer ({error})")));
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask_once(address: &str, number: usize, group: &Group, len: usize) -> Result<Vec<u8>> {
    let mut stream = connect(address)?;
    let until = Instant::now() + ANSWER_WITHIN;
    stream.write_all(&group.greeting(number))?;
    let Some((_, theirs)) = greeted(&stream, until)? else {
        return Err(Error::other("something else than a first rank is there"));
    };
    if theirs != *group {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("the first of {theirs} is there, and this is one of {group}; give each run a port of its own"),
        ));
    }
    let mut bytes = vec![0; len];
    read_until(&stream, &mut bytes, until)?;
    stream.write_all(&[RECEIVED])?;
    Ok(bytes)
}

/// Connects to the first of the addresses of a name that answers: a name may stand for one of IPv6 where nobody listens.
fn connect(address: &str) -> Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "no such address");
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, ANSWER_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::thread::{JoinHandle, spawn};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A listener, and its address.
    fn listener() -> (TcpListener, String) {
        let listener = listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    /// One that has connected and said this.
    fn said(address: &str, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// A process of a group that asks for five bytes.
    fn asking(address: &str, number: usize, group: &Group) -> JoinHandle<Result<Vec<u8>>> {
        let (address, group) = (address.to_owned(), group.clone());
        spawn(move || ask(&address, number, &group, 5, soon()))
    }

    /// The first process of a group, which hands out five bytes.
    fn handing_out(listener: TcpListener, group: &Group) -> JoinHandle<Result<()>> {
        let group = group.clone();
        spawn(move || hand_out(&listener, &group, b"12345", soon()))
    }

    #[test]
    fn every_process_gets_the_bytes_whoever_else_connects() {
        let (listener, address) = listener();
        let group = Group::new(4, "77.0");
        // Someone who says nothing of it, someone who goes, a job whose name has no end, and a number that there is not.
        let endless = [&GREETING[..], &[1, 0, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255]].concat();
        let (stranger, number) = (b"GET / HTTP/1.1\r\n", group.greeting(7));
        let others = [&stranger[..], &[], &endless, &number];
        let mut others = others.map(|bytes| said(&address, bytes));
        others[1].shutdown(Shutdown::Both).unwrap();
        let asking: Vec<_> = (1..=3).map(|number| asking(&address, number, &group)).collect();
        hand_out(&listener, &group, b"12345", soon()).unwrap();
        for asking in asking {
            assert_eq!(asking.join().unwrap().unwrap(), b"12345");
        }
        // Whoever greets is told who is there, and gets the bytes only as one of them.
        let mut told = Vec::new();
        others[3].read_to_end(&mut told).unwrap();
        assert_eq!(told, group.greeting(0));
    }

    #[test]
    fn one_of_another_group_is_refused_at_once_by_both_names_and_its_place_stays_free() {
        let group = Group::new(2, "77.0");
        for other in [Group::new(2, "77.1"), Group::new(3, "77.0"), Group::new(2, "")] {
            let (listener, address) = listener();
            let first = handing_out(listener, &group);
            let error = asking(&address, 1, &other).join().unwrap().unwrap_err().to_string();
            let (there, here) = ("the first of 2 ranks of the job 77.0 is there", format!("this is one of {other};"));
            assert!(error.contains(there) && error.contains(&here), "{error}");
            assert_eq!(asking(&address, 1, &group).join().unwrap().unwrap(), b"12345");
            first.join().unwrap().unwrap();
        }
    }

    #[test]
    fn two_processes_of_one_number_are_an_error() {
        let (listener, address) = listener();
        let group = Group::new(3, "");
        let first = handing_out(listener, &group);
        for _ in 0..2 {
            asking(&address, 2, &group).join().unwrap().unwrap();
        }
        assert!(first.join().unwrap().unwrap_err().to_string().starts_with("two processes are rank 2;"));
    }

    #[test]
    fn what_answers_without_the_greeting_hands_out_nothing() {
        let (listener, address) = listener();
        let group = Group::new(2, "");
        let greeting = group.greeting(1).len();
        let other = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; greeting]).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
            stream
        });
        let error = ask(&address, 1, &group, 5, Instant::now()).unwrap_err().to_string();
        assert!(error.contains("something else than a first rank is there"), "{error}");
        drop(other.join().unwrap());
    }

    #[test]
    fn who_has_given_up_before_the_bytes_came_is_waited_for() {
        let (listener, address) = listener();
        let group = Group::new(2, "");
        // It has asked and gone: the bytes would be written to nobody.
        let gone = said(&address, &group.greeting(1));
        gone.shutdown(Shutdown::Write).unwrap();
        let first = handing_out(listener, &group);
        assert_eq!(asking(&address, 1, &group).join().unwrap().unwrap(), b"12345");
        first.join().unwrap().unwrap();
    }

    #[test]
    fn who_does_not_come_is_named_and_who_is_not_there_too() {
        let (listener, address) = listener();
        let group = Group::new(4, "");
        // It has said everything before anyone listens, so that it is in time however busy the machine is.
        let mut second = said(&address, &[&group.greeting(2)[..], &[RECEIVED]].concat());
        let until = Instant::now() + Duration::from_millis(500);
        let error = hand_out(&listener, &group, b"1", until).unwrap_err();
        assert_eq!(error.to_string(), "ranks 1, 3 did not come");
        drop(listener);
        let mut told = Vec::new();
        second.read_to_end(&mut told).unwrap();
        assert_eq!(told, [&group.greeting(0)[..], b"1"].concat());
        let error = ask(&address, 1, &group, 1, Instant::now()).unwrap_err();
        assert!(error.to_string().contains(&format!("{address} does not answer")), "{error}");
    }

    #[test]
    fn strangers_that_go_on_coming_and_bytes_that_come_slowly_put_nothing_off() {
        let (listener, address) = listener();
        let group = Group::new(3, "");
        // The time is over after the stranger, who comes before the other.
        let _stranger = said(&address, b"GET / HTTP/1.1\r\n");
        let _first = said(&address, &[&group.greeting(1)[..], &[RECEIVED]].concat());
        let error = hand_out(&listener, &group, b"1", Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "ranks 1, 2 did not come");
        let stream = listener.accept().unwrap().0;
        let error = read_until(&stream, &mut [0], Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn the_first_process_listens_at_loopback_alone_where_its_host_is_such_an_address() {
        let ip = |address: &str| listen(address).unwrap().local_addr().unwrap().ip();
        assert!(ip("127.0.0.1:0").is_loopback());
        // A name is for others to look up, and may be of any network.
        assert!(["localhost:0", "node7.example:0", "10.0.0.1:0"].iter().all(|address| ip(address).is_unspecified()));
        for wrong in ["node7", "node7:", "node7:abc", "node7:65536"] {
            assert_eq!(listen(wrong).unwrap_err().kind(), ErrorKind::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn a_name_of_a_job_is_cut_where_a_letter_ends() {
        let group = Group::new(2, &"ä".repeat(200));
        assert_eq!(group.job, "ä".repeat(128));
    }
}
