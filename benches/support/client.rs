//! A driver's connection to the server under measurement.

use tokio_postgres::{Client, Config, NoTls};

use crate::server::Server;

/// It ends with the client.
pub async fn connect(server: &Server) -> Client {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(server.port())
        .user("millstream")
        .dbname("millstream");
    let (client, connection) = config.connect(NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}
