//! The listener, the connections, and the thread on which they run.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::pin,
    rc::Rc,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{Notify, oneshot},
    task::{LocalSet, spawn_local, yield_now},
    time::{interval, sleep, timeout},
};

use crate::{
    command,
    hub::{ClientId, Hub},
    reply::Reply,
    request::Decoder,
};

/// A running pub/sub server. It runs until this handle is stopped or dropped.
///
/// It runs on its own thread, so that a busy application does not slow it down. A real
/// Redis is another process and would not be slowed down either. As in Redis, one thread
/// does everything. So it needs no locks, and it delivers messages in the order in which
/// it reads the requests.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    /// Dropping it asks the thread to end.
    running: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `addr`, such as `"127.0.0.1:6379"`. Port 0 means any free port, and
    /// [`addr`](Self::addr) returns that port. Clients can connect when this returns. The
    /// caller needs no Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if other computers could reach `addr`: this server
    /// has no passwords. A Redis without passwords refuses other computers too, in its
    /// [protected mode]. Otherwise the error of binding the port or of starting the
    /// thread, such as [`io::ErrorKind::AddrInUse`].
    ///
    /// [protected mode]: https://redis.io/docs/latest/operate/oss_and_stack/management/security/#protected-mode
    pub fn start(addr: impl ToSocketAddrs) -> io::Result<Self> {
        let addrs: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        if let Some(public) = addrs.iter().find(|addr| !addr.ip().is_loopback()) {
            let sentence = format!(
                "embedded-pubsub has no passwords and listens only to this computer (127.0.0.1 \
                 or [::1]), not on {public}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let listener = std::net::TcpListener::bind(&addrs[..])?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (running, stop) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (report, started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("embedded-pubsub".into())
            .spawn(move || {
                run(listener, stop, &report);
                drop(end);
            })?;
        let server = Server {
            addr,
            running: Some(running),
            ended,
            thread: Some(thread),
        };
        started.recv().map_err(io::Error::other)??;
        Ok(server)
    }

    /// The address on which it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL for a client library, such as `redis://127.0.0.1:6379/?protocol=resp3`.
    /// socketioxide's Redis adapter needs RESP3. For RESP2, leave the query out.
    pub fn url(&self) -> String {
        format!("redis://{}/?protocol=resp3", self.addr)
    }

    /// Closes the listener and every connection. When this returns, the port is
    /// free, and another server can start on it.
    pub async fn stop(mut self) {
        self.running = None;
        // It ends when the thread drops its sender. The thread is at its end then, so
        // joining it in `drop` takes no time.
        let _ = (&mut self.ended).await;
    }
}

/// Does the same as [`stop`](Server::stop), but blocks until it is done.
impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // If the thread has panicked, the message is on stderr already.
            let _ = thread.join();
        }
    }
}

/// The thread: serves until `stop` is dropped. All its sockets are closed when it
/// returns.
fn run(
    listener: std::net::TcpListener,
    stop: oneshot::Receiver<()>,
    report: &SyncSender<io::Result<()>>,
) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let started = runtime.and_then(|runtime| {
        let _context = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let hub = Hub::new(listener.local_addr()?);
        Ok((runtime, listener, hub))
    });
    // `start` waits for the report, so it is always received.
    match started {
        Ok((runtime, listener, hub)) => {
            let _ = report.send(Ok(()));
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    _ = stop => {}
                    () = listen(listener, hub) => {}
                }
            });
        }
        Err(error) => {
            let _ = report.send(Err(error));
        }
    }
}

async fn listen(listener: TcpListener, hub: Hub) {
    let hub = Rc::new(RefCell::new(hub));
    let mut second = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    spawn_local(serve(stream, peer, Rc::clone(&hub)));
                }
                // Mostly, there are no more descriptors. The client stays in the queue, so
                // without a pause this loop would use a whole core.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            _ = second.tick() => hub.borrow_mut().drop_overdue(Instant::now()),
        }
    }
}

/// How long a client that has closed its side may take to read the rest.
const LAST_WRITE_TIME: Duration = Duration::from_secs(5);

async fn serve(stream: TcpStream, peer: SocketAddr, hub: Rc<RefCell<Hub>>) {
    // Whole batches are written at once, and waiting for more would only delay them. If
    // this fails, the socket is closed already, and the first read fails too.
    let _ = stream.set_nodelay(true);
    let (id, wake) = hub.borrow_mut().connect(peer);
    {
        let mut write = pin!(write(&stream, &hub, id, &wake));
        tokio::select! {
            () = &mut write => {}
            () = read(&stream, &hub, id) => {
                // The client has quit, closed its side, or sent no RESP. It still gets the
                // answers to its earlier requests.
                hub.borrow_mut().close_after_reply(id);
                let _ = timeout(LAST_WRITE_TIME, write).await;
            }
        }
    }
    hub.borrow_mut().disconnect(id);
}

/// At least this many bytes are read at a time.
const READ_SIZE: usize = 16 * 1024;

/// With more bytes of answers than this, they are written before the next request is read.
const UNWRITTEN: usize = 256 * 1024;

/// Reads and carries out requests until the client's last one.
async fn read(stream: &TcpStream, hub: &RefCell<Hub>, id: ClientId) {
    let mut decoder = Decoder::default();
    while receive(stream, decoder.buffer()).await {
        loop {
            match decoder.next_request() {
                Ok(Some(request)) => command::execute(&mut hub.borrow_mut(), id, &request),
                Ok(None) => {
                    hub.borrow_mut().hold(id, decoder.unfinished());
                    break;
                }
                Err(error) => {
                    let reply = Reply::Error(format!("ERR Protocol error: {}", error.0));
                    hub.borrow_mut().reply(id, &reply);
                    return;
                }
            }
            let unwritten = match hub.borrow().client(id) {
                Some(client) if !client.closing => client.outbox.len(),
                _ => return,
            };
            if unwritten > UNWRITTEN {
                yield_now().await;
            }
        }
        // A client that sends without a pause must not block the others.
        yield_now().await;
    }
}

/// Reads bytes. Returns `false` if no more will come.
async fn receive(stream: &TcpStream, buffer: &mut BytesMut) -> bool {
    buffer.reserve(READ_SIZE);
    while stream.readable().await.is_ok() {
        match stream.try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result.is_ok_and(|len| len > 0),
        }
    }
    false
}

/// Writes what is in the client's outbox, as fast as the client reads, until the
/// client is gone or has been sent its last answer.
async fn write(stream: &TcpStream, hub: &RefCell<Hub>, id: ClientId, wake: &Notify) {
    loop {
        let waiting = match hub.borrow().client(id) {
            None => return,
            Some(client) if client.closing && client.outbox.len() == 0 => return,
            Some(client) => client.outbox.len() > 0,
        };
        tokio::select! {
            // To be dropped is a reason to wake, too, for one whose socket is full.
            () = wake.notified() => {}
            writable = stream.writable(), if waiting => {
                if writable.is_err() {
                    return;
                }
                let hub = &mut *hub.borrow_mut();
                let Some(client) = hub.client_mut(id) else { return };
                match client.outbox.write_with(|bytes| stream.try_write(bytes)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }
    }
}
