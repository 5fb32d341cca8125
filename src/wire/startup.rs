//! The way of a connection to its session: TLS, the startup packet, authentication, the session's first words.
//!
//! One rule: a client that has not logged in has seconds, a few KiB and no session; a failure is FATAL and ends the
//! connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::SCRAM_SHA_256_METHOD;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tracing::warn;

use super::cancel::CancelKey;
use super::connection::Connection;
use super::context::ConnectionContext;
use super::frontend::{self, Opening, Phase, Startup};
use super::guests::Guest;
use super::message;
use super::socket::{Ended, Incoming, Peer, Socket};
use crate::error::{SqlError, SqlState, state};
use crate::session::Session;

/// The newest minor version of protocol 3 that is spoken.
const MINOR_MAX: u16 = 2;

/// Time that a client may take from connecting to the end of its authentication.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);
/// Time that it may take to read the reason of its refusal.
const REFUSAL_LIMIT: Duration = Duration::from_secs(5);

/// A connection before its login.
pub(super) struct Arrival {
    pub address: SocketAddr,
    pub guest: Guest,
    pub stopped: watch::Receiver<bool>,
    pub deadline: Instant,
}

impl Arrival {
    pub fn new(address: SocketAddr, guest: Guest, stopped: watch::Receiver<bool>) -> Arrival {
        Arrival {
            address,
            guest,
            stopped,
            deadline: Instant::now() + LOGIN_LIMIT,
        }
    }

    /// Runs a part of the login, for as long as the connection may be without one.
    async fn bounded<T>(&mut self, part: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            done = part => done,
            () = self.guest.displaced() => Err(Ended::Displaced),
            () = tokio::time::sleep_until(self.deadline) => Err(Ended::TimedOut),
            // An error is the sender's end, which means the same.
            _ = self.stopped.wait_for(|stopped| *stopped) => Err(Ended::Displaced),
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    context: &Arc<ConnectionContext>,
    mut arrival: Arrival,
) -> Result<(), Ended> {
    let mut socket = Socket::new(stream);
    let negotiated = arrival.bounded(negotiate(&mut socket, context.tls.is_some())).await;
    let opening = match negotiated {
        Ok(opening) => opening,
        Err(ended) => return refuse(&mut socket, ended).await,
    };
    if let Some(packet) = opening {
        return login(socket, Some(packet), false, context, arrival).await;
    }
    let acceptor = context.tls.as_ref().expect("TLS is only accepted with a certificate");
    // Bytes that a client sent in the clear behind its request for TLS are not part of the encrypted conversation.
    let Some(stream) = socket.into_stream() else {
        return Err(Ended::Fatal(SqlError::new(
            state::PROTOCOL_VIOLATION,
            "received unencrypted data after SSL request",
        )));
    };
    let accepting = Box::pin(async { Ok(acceptor.accept(stream).await?) });
    let encrypted = Box::new(arrival.bounded(accepting).await?);
    Box::pin(login(Socket::new(*encrypted), None, true, context, arrival)).await
}

/// Answers requests for encryption: the packet that is none, or `None` if TLS comes next.
async fn negotiate(socket: &mut Socket<TcpStream>, has_tls: bool) -> Result<Option<Incoming>, Ended> {
    let (mut asked_ssl, mut asked_gss) = (false, false);
    loop {
        let packet = socket.read().await?;
        match frontend::opening(&packet.body).map_err(Ended::Fatal)? {
            Opening::Ssl if !asked_ssl => {
                asked_ssl = true;
                let answer = if has_tls {
                    SslResponse::Accept
                } else {
                    SslResponse::Refuse
                };
                message::put(&mut socket.output, &answer);
                socket.flush().await?;
                if has_tls {
                    return Ok(None);
                }
            }
            Opening::Gss if !asked_gss => {
                asked_gss = true;
                message::put(&mut socket.output, &GssEncResponse::Refuse);
                socket.flush().await?;
            }
            _ => return Ok(Some(packet)),
        }
    }
}

/// Tells the client, if it is refused, and closes the connection.
async fn refuse<S: AsyncRead + AsyncWrite + Peer + Unpin>(socket: &mut Socket<S>, ended: Ended) -> Result<(), Ended> {
    if let Ended::Fatal(error) = &ended {
        message::fatal(&mut socket.output, error);
        // One that does not read it is closed all the same.
        let _ = tokio::time::timeout(REFUSAL_LIMIT, socket.shutdown()).await;
    }
    Err(ended)
}

/// The result of a login.
struct LoggedIn {
    session: Session,
    key: CancelKey,
    place: OwnedSemaphorePermit,
}

async fn login<S>(
    mut socket: Socket<S>,
    packet: Option<Incoming>,
    encrypted: bool,
    context: &Arc<ConnectionContext>,
    mut arrival: Arrival,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Peer + Unpin + Send,
{
    let address = arrival.address;
    let introduction = introduce(&mut socket, packet, encrypted, address, context);
    let admitted = match arrival.bounded(introduction).await {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return Ok(()),
        Err(ended) => return refuse(&mut socket, ended).await,
    };
    let Arrival { guest, stopped, .. } = arrival;
    drop(guest);
    // On the heap: a connection that has not come here holds no room for it.
    Box::pin(converse(socket, admitted, stopped)).await
}

async fn converse<S>(mut socket: Socket<S>, admitted: LoggedIn, stopped: watch::Receiver<bool>) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Peer + Unpin + Send,
{
    let LoggedIn {
        session,
        key,
        place: _place,
    } = admitted;
    socket.enter(Phase::Session);
    message::put(&mut socket.output, &Authentication::Ok);
    for (name, value) in session.reported_settings() {
        message::parameter(&mut socket.output, name, value);
    }
    let secret = SecretKey::Bytes(key.bytes.clone());
    message::put(&mut socket.output, &BackendKeyData::new(key.session, secret));
    message::ready(&mut socket.output, session.status());
    socket.flush().await?;
    let mut connection = Connection::new(socket, session, stopped);
    let ended = connection.run().await;
    refuse(&mut connection.socket, ended).await
}

/// The startup packet and authentication; `None` if it was a cancel request, which is done.
async fn introduce<S>(
    socket: &mut Socket<S>,
    packet: Option<Incoming>,
    encrypted: bool,
    address: SocketAddr,
    context: &Arc<ConnectionContext>,
) -> Result<Option<LoggedIn>, Ended>
where
    S: AsyncRead + AsyncWrite + Peer + Unpin + Send,
{
    let packet = match packet {
        Some(packet) => packet,
        None => socket.read().await?,
    };
    let startup = match frontend::opening(&packet.body).map_err(Ended::Fatal)? {
        Opening::Cancel { session, key } => {
            context.cancels.cancel(session, key);
            return Ok(None);
        }
        Opening::Startup(startup) => startup,
        // A second request for encryption.
        Opening::Ssl => return Err(Ended::Fatal(unsupported_version(1234, 5679))),
        Opening::Gss => return Err(Ended::Fatal(unsupported_version(1234, 5680))),
    };
    socket.enter(Phase::Login);
    let minor = negotiate_version(socket, &startup).map_err(Ended::Fatal)?;
    let own = |(name, value): &(&str, &str)| ((*name).to_string(), (*value).to_string());
    let mut options: BTreeMap<String, String> = startup.parameters.iter().map(own).collect();
    drop(packet);
    let Some(user) = options.remove("user").filter(|user| !user.is_empty()) else {
        return Err(Ended::Fatal(SqlError::new(
            state::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        )));
    };
    let database = options
        .remove("database")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| user.clone());
    let authenticated = match (encrypted, &context.login.salted) {
        (false, _) if context.tls_required => {
            let host = address.ip();
            let message = format!(
                "no pg_hba.conf entry for host \"{host}\", user \"{user}\", database \"{database}\", no encryption"
            );
            let hint = "This server takes TLS connections only: connect with sslmode=require.";
            Err(Ended::Fatal(
                SqlError::new(state::INVALID_AUTHORIZATION, message).hint(hint),
            ))
        }
        (_, None) => Ok(()),
        (_, Some(password)) => authenticate(socket, password, &user).await,
    };
    if let Err(Ended::Fatal(error)) = &authenticated {
        login_failed(context, &user, address, error);
    }
    authenticated?;
    let Ok(place) = context.places.clone().try_acquire_owned() else {
        context.engine.counters.connections_refused.add(1);
        let error = SqlError::new(state::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
        return Err(Ended::Fatal(error));
    };
    let mut session = Session::new(context.engine.clone(), user, database, options).map_err(Ended::Fatal)?;
    session.came_from(address);
    let key = context
        .cancels
        .register(session.id(), session.cancel_handle(), minor)
        .map_err(Ended::Fatal)?;
    Ok(Some(LoggedIn { session, key, place }))
}

fn login_failed(context: &ConnectionContext, user: &str, address: SocketAddr, error: &SqlError) {
    context.engine.counters.logins_failed.add(1);
    if let Some(unlogged) = context.login_failures.admit() {
        // Quoted: a name may hold anything.
        warn!(?user, %address, unlogged, "a login failed: {:?}", error.message);
    }
}

fn unsupported_version(major: u16, minor: u16) -> SqlError {
    let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}");
    SqlError::new(state::FEATURE_NOT_SUPPORTED, message)
}

/// The minor version of protocol 3 for the session. A newer one than ours, and unknown `_pq_.` options, are answered
/// with the newest version that the server has.
fn negotiate_version<S>(socket: &mut Socket<S>, startup: &Startup<'_>) -> Result<u16, SqlError> {
    if startup.major != 3 {
        return Err(unsupported_version(startup.major, startup.minor));
    }
    let names = startup.parameters.iter().map(|(name, _)| *name);
    let unknown: Vec<String> = names
        .filter(|name| name.starts_with("_pq_."))
        .map(str::to_string)
        .collect();
    let minor = startup.minor.min(MINOR_MAX);
    if minor < startup.minor || !unknown.is_empty() {
        let version = 3 << 16 | i32::from(minor);
        message::put(&mut socket.output, &NegotiateProtocolVersion::new(version, unknown));
    }
    Ok(minor)
}

/// SCRAM-SHA-256, without channel binding.
async fn authenticate<S>(socket: &mut Socket<S>, password: &Password, user: &str) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Peer + Unpin + Send,
{
    let refused = |state: SqlState, message: String| Ended::Fatal(SqlError::new(state, message));
    let failed = || {
        let message = format!("password authentication failed for user \"{user}\"");
        refused(state::INVALID_PASSWORD, message)
    };
    message::put(
        &mut socket.output,
        &Authentication::SASL(vec![SCRAM_SHA_256_METHOD.to_string()]),
    );
    socket.flush().await?;
    let first = socket.read().await?;
    let (mechanism, data) = frontend::sasl_initial_response(&first.body).map_err(Ended::Fatal)?;
    if mechanism != SCRAM_SHA_256_METHOD {
        let message = "client selected an invalid SASL authentication mechanism";
        return Err(refused(state::PROTOCOL_VIOLATION, message.to_string()));
    }
    let (answer, waiting) = ScramServerAuth::new()
        .on_client_first_message(data.unwrap_or_default(), password.clone())
        .map_err(|_| failed())?;
    message::put(&mut socket.output, &Authentication::SASLContinue(answer.into()));
    socket.flush().await?;
    let last = socket.read().await?;
    let signature = waiting.on_client_final_message(&last.body).map_err(|_| failed())?;
    message::put(&mut socket.output, &Authentication::SASLFinal(signature.into()));
    Ok(())
}
