//! From an accepted socket to a session: TLS, the startup message, authentication, the session's first words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::SCRAM_SHA_256_METHOD;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramServerAuth, gen_salted_password};
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey, Startup};
use pgwire::messages::{PgWireFrontendMessage, SslNegotiationMetaMessage};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::connection::{Connection, Ended, Socket};
use super::message;
use super::server::Shared;
use crate::error::{SqlError, state};
use crate::session::Session;

/// Major version in the upper half, minor in the lower.
const PROTOCOL_3_0: i32 = 3 << 16;

/// How long a client may take from connecting to its authentication.
const STARTUP_LIMIT: Duration = Duration::from_secs(60);

/// Whether there is a place for one more connection. Cancel requests need none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Free,
    Full,
}

/// What a client must prove.
pub(super) struct Login {
    /// The password, salted once for the life of the server.
    salted: Option<Password>,
}

impl Login {
    #[allow(
        clippy::disallowed_methods,
        reason = "a salt must not be predictable, by a test's seed neither"
    )]
    pub fn new(password: Option<String>) -> Login {
        let salted = password.map(|password| {
            let salt = rand::random::<[u8; 16]>().to_vec();
            let salted = gen_salted_password(&password, &salt, SCRAM_ITERATIONS);
            Password::new(Some(salt), salted)
        });
        Login { salted }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    shared: &Arc<Shared>,
    admission: Admission,
    stopped: watch::Receiver<bool>,
) -> Result<(), Ended> {
    let peer = stream.peer_addr().ok();
    let mut socket = Socket::new(stream);
    let negotiation = async {
        loop {
            match socket.read().await? {
                PgWireFrontendMessage::SslNegotiation(SslNegotiationMetaMessage::PostgresSsl(_)) => {
                    let accepted = shared.tls.is_some();
                    let answer = if accepted {
                        SslResponse::Accept
                    } else {
                        SslResponse::Refuse
                    };
                    message::put(&mut socket.output, &answer);
                    socket.flush().await?;
                    if accepted {
                        return Ok::<bool, Ended>(true);
                    }
                }
                PgWireFrontendMessage::SslNegotiation(SslNegotiationMetaMessage::PostgresGss(_)) => {
                    message::put(&mut socket.output, &GssEncResponse::Refuse);
                    socket.flush().await?;
                }
                _ => return Ok(false),
            }
        }
    };
    let secure = tokio::time::timeout(STARTUP_LIMIT, negotiation)
        .await
        .map_err(|_| Ended::TimedOut)??;
    if !secure {
        return start(socket, peer, shared, admission, stopped).await;
    }
    // What a client sent in the clear behind its request for TLS is not part of the encrypted conversation.
    if !socket.input.is_empty() {
        return Err(Ended::Protocol(
            "unencrypted data after the request for TLS".to_string(),
        ));
    }
    let acceptor = shared.tls.as_ref().expect("TLS is only accepted with a certificate");
    let accepting = tokio::time::timeout(STARTUP_LIMIT, acceptor.accept(socket.stream));
    let encrypted = accepting.await.map_err(|_| Ended::TimedOut)??;
    let mut socket = Socket::new(encrypted);
    socket.context.awaiting_frontend_ssl = false;
    start(socket, peer, shared, admission, stopped).await
}

async fn start<S>(
    mut socket: Socket<S>,
    peer: Option<SocketAddr>,
    shared: &Arc<Shared>,
    admission: Admission,
    stopped: watch::Receiver<bool>,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    socket.context.awaiting_frontend_ssl = false;
    let introduction = tokio::time::timeout(STARTUP_LIMIT, introduce(&mut socket, shared, admission));
    let mut session = match introduction.await.map_err(|_| Ended::TimedOut)? {
        Ok(Some(session)) => session,
        Ok(None) => return Ok(()),
        Err(Refused::Ended(ended)) => return Err(ended),
        Err(Refused::Error(error)) => {
            message::fatal(&mut socket.output, &error);
            socket.flush().await?;
            return Ok(socket.stream.shutdown().await?);
        }
    };
    if let Some(peer) = peer {
        session.came_from(peer);
    }
    let id = session.id();
    let secret = shared.cancels.register(id, session.cancel_handle());
    message::put(&mut socket.output, &Authentication::Ok);
    for (name, value) in session.reported_settings() {
        message::parameter(&mut socket.output, name, value);
    }
    message::put(&mut socket.output, &BackendKeyData::new(id, SecretKey::I32(secret)));
    message::ready(&mut socket.output, session.status());
    let result = match socket.flush().await {
        Ok(()) => Connection::new(socket, session, stopped).run().await,
        Err(error) => Err(error),
    };
    shared.cancels.forget(id);
    result
}

enum Refused {
    Error(SqlError),
    Ended(Ended),
}

impl From<Ended> for Refused {
    fn from(ended: Ended) -> Self {
        Refused::Ended(ended)
    }
}

impl From<SqlError> for Refused {
    fn from(error: SqlError) -> Self {
        Refused::Error(error)
    }
}

/// The startup message and authentication; `None` if it was a cancel request, which is done.
async fn introduce<S>(
    socket: &mut Socket<S>,
    shared: &Arc<Shared>,
    admission: Admission,
) -> Result<Option<Session>, Refused>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let startup = match socket.read().await? {
        PgWireFrontendMessage::CancelRequest(request) => {
            if let Some(secret) = request.secret_key.as_i32() {
                shared.cancels.cancel(request.pid, secret);
            }
            return Ok(None);
        }
        PgWireFrontendMessage::Startup(startup) => startup,
        _ => return Err(Ended::Protocol("the startup message was expected".to_string()).into()),
    };
    socket.context.awaiting_frontend_startup = false;
    negotiate_version(socket, &startup)?;
    if admission == Admission::Full {
        return Err(SqlError::new(state::TOO_MANY_CONNECTIONS, "sorry, too many clients already").into());
    }
    let mut options = startup.parameters;
    let Some(user) = options.remove("user").filter(|user| !user.is_empty()) else {
        return Err(SqlError::new(
            state::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        )
        .into());
    };
    let database = options
        .remove("database")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| user.clone());
    if let Some(password) = &shared.login.salted {
        authenticate(socket, password, &user).await?;
    }
    Ok(Some(Session::new(shared.engine.clone(), user, database, options)?))
}

/// Protocol 3.x: a newer minor version, or unknown `_pq_.` options, are answered with what there is.
fn negotiate_version<S>(socket: &mut Socket<S>, startup: &Startup) -> Result<(), Refused> {
    if startup.protocol_number_major != 3 {
        return Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!(
                "unsupported frontend protocol {}.{}: server supports 3.0 to 3.0",
                startup.protocol_number_major, startup.protocol_number_minor
            ),
        )
        .into());
    }
    let unknown: Vec<String> = startup
        .parameters
        .keys()
        .filter(|name| name.starts_with("_pq_."))
        .cloned()
        .collect();
    if startup.protocol_number_minor > 0 || !unknown.is_empty() {
        message::put(
            &mut socket.output,
            &NegotiateProtocolVersion::new(PROTOCOL_3_0, unknown),
        );
    }
    Ok(())
}

/// SCRAM-SHA-256, without channel binding.
async fn authenticate<S>(socket: &mut Socket<S>, password: &Password, user: &str) -> Result<(), Refused>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let failed = || {
        SqlError::new(
            state::INVALID_PASSWORD,
            format!("password authentication failed for user \"{user}\""),
        )
    };
    message::put(
        &mut socket.output,
        &Authentication::SASL(vec![SCRAM_SHA_256_METHOD.to_string()]),
    );
    socket.flush().await?;
    let PgWireFrontendMessage::PasswordMessageFamily(first) = socket.read().await? else {
        return Err(failed().into());
    };
    let first = first.into_sasl_initial_response().map_err(|_| failed())?;
    if first.auth_method != SCRAM_SHA_256_METHOD {
        return Err(failed().into());
    }
    let mut data = first.data.unwrap_or_default();
    let (answer, waiting) = ScramServerAuth::new()
        .on_client_first_message(data.copy_to_bytes(data.remaining()).as_ref(), password.clone())
        .map_err(|_| failed())?;
    message::put(&mut socket.output, &Authentication::SASLContinue(answer.into()));
    socket.flush().await?;
    let PgWireFrontendMessage::PasswordMessageFamily(last) = socket.read().await? else {
        return Err(failed().into());
    };
    let last = last.into_sasl_response().map_err(|_| failed())?;
    let signature = waiting.on_client_final_message(&last.data).map_err(|_| failed())?;
    message::put(&mut socket.output, &Authentication::SASLFinal(signature.into()));
    Ok(())
}

/// The buffer that a connection starts with, bytes.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

pub(super) fn buffer() -> BytesMut {
    BytesMut::with_capacity(BUFFER_BYTES)
}
