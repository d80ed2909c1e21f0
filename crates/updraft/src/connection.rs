//! Where the server is and how to be let in: what every verb that talks to it takes.

use std::path::{Path, PathBuf};

use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::{DATA_VARIABLE, DEFAULT_DATA};
use updraft_server::pki::CA_FILE;

use crate::client::{Client, ClientError};

/// The operator API when none is named.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// Where the server is and how to be let in.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct Connection {
    /// URL of the operator API
    #[arg(long, global = true, env = "UPDRAFT_URL", value_name = "URL", default_value = URL_DEFAULT)]
    pub url: String,
    /// Operator token; without it the file operator.token in the data folder is read
    #[arg(long, global = true, env = "UPDRAFT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Certificate authority that signed the server's certificate (PEM), for an https URL; without it ca.pem in the
    /// data folder is trusted if it is there, and else the public ones
    #[arg(long, global = true, env = "UPDRAFT_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Data folder of the local server
    #[arg(long, global = true, env = DATA_VARIABLE, value_name = "DIR", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
}

impl Connection {
    /// A client for the server; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError`] if there is no token to be found, or no usable certificate authority.
    pub fn client(&self) -> Result<Client, ClientError> {
        let token = match &self.token {
            Some(token) => token.trim().to_owned(),
            None => read_token(&self.data.join(OPERATOR_TOKEN_FILE))?,
        };
        let ca = match &self.ca {
            Some(ca) => Some(ca.clone()),
            None => Some(self.data.join(CA_FILE)).filter(|ca| ca.exists()),
        };
        Client::new(&self.url, &token, ca.as_deref())
    }
}

fn read_token(path: &Path) -> Result<String, ClientError> {
    match std::fs::read_to_string(path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(source) => Err(ClientError::NoToken { path: path.into(), source }),
    }
}
