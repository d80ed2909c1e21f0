//! Why a broker and the server do not trust each other by TLS, and what to do about it. Pure.

use super::config::ExternalConfig;
use super::connection::LinkError;
use rumqttc::{ConnectionError, StateError};
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;
use std::path::Path;

/// An error before the broker let the server in, with what to do where that is known.
pub(super) fn explain(error: LinkError, config: &ExternalConfig) -> LinkError {
    let LinkError::Lost(source) = error else { return error };
    let advice = match rustls_error(&*source) {
        Some(rustls::Error::InvalidCertificate(wrong)) => brokers_certificate(wrong, config),
        Some(rustls::Error::AlertReceived(alert)) => own_certificate(*alert, config),
        Some(_) => None,
        None if is_hang_up(&source) => {
            return LinkError::HungUp {
                hint: format!("before it let the server in: {}", hint(config)),
                source,
            };
        }
        None => None,
    };
    match advice {
        Some(advice) => LinkError::Tls { advice, source },
        None => LinkError::Lost(source),
    }
}

/// An error while the broker was to grant filters, the first of which it has not answered. Some hang up on whoever asks for
/// what it may not.
pub(super) fn explain_subscription(error: LinkError, pending: &[String]) -> LinkError {
    match (error, pending.first()) {
        (LinkError::Lost(source), Some(filter)) if is_hang_up(&source) => {
            let way_out =
                if filter.starts_with("$share/") { ", or shared = \"never\" must be set" } else { "" };
            let hint = format!(
                "when it was asked for a subscription to {filter}: its access rules must let the server subscribe to it \
                 and to all others{way_out}"
            );
            LinkError::HungUp { hint, source }
        }
        (error, _) => error,
    }
}

/// What TLS said, however deep it is wrapped.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            // Its `source` is that of the error inside: the one inside would be passed over.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// What is wrong with the certificate that the broker has shown.
fn brokers_certificate(wrong: &CertificateError, config: &ExternalConfig) -> Option<String> {
    let host = config.address().map(|address| address.host).unwrap_or_default();
    if *wrong == CertificateError::UnknownIssuer {
        return Some(match &config.ca {
            Some(ca) => format!(
                "the broker's certificate is from no authority in {}: ca must be the file of the authority that signed it",
                ca.display()
            ),
            None => {
                "the broker's certificate is from no authority of the public web: set ca to the file of the \
                     authority that signed it"
                    .to_owned()
            }
        });
    }
    if matches!(wrong, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) {
        return Some(format!(
            "the broker's certificate is not for {host}: url must have a name that stands in it"
        ));
    }
    if matches!(wrong, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
        return Some("the broker's certificate has expired: it must be renewed at the broker".to_owned());
    }
    let is_early =
        matches!(wrong, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. });
    is_early
        .then(|| "the broker's certificate is not valid yet: is the clock of this machine right?".to_owned())
}

/// What the broker has against the certificate that the server has shown, or not shown (RFC 8446, 6.2).
fn own_certificate(alert: AlertDescription, config: &ExternalConfig) -> Option<String> {
    let is_of_certificates = matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    );
    if !is_of_certificates {
        return None;
    }
    let Some(path) = config.certificate.as_deref().map(Path::display) else {
        return Some("the broker wants a client certificate: set certificate and key".to_owned());
    };
    Some(if alert == AlertDescription::CertificateExpired {
        format!("the client certificate in {path} has expired: renew it; it is read anew for each connection")
    } else if alert == AlertDescription::UnknownCA {
        format!("the broker does not know the authority of the client certificate in {path}")
    } else {
        format!("the broker refuses the client certificate in {path} ({alert:?})")
    })
}

fn is_hang_up(error: &ConnectionError) -> bool {
    let (ConnectionError::MqttState(StateError::Io(error)) | ConnectionError::Io(error)) = error else {
        return matches!(error, ConnectionError::MqttState(StateError::ConnectionAborted));
    };
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// What may be missing where a broker hangs up without a word.
fn hint(config: &ExternalConfig) -> &'static str {
    let is_plain = config.address().is_some_and(|address| address.is_plain);
    match (is_plain, config.certificate.is_some()) {
        // The alert that says so is lost where the broker closes before it has read all that was sent to it.
        (false, false) => {
            "it may want a client certificate (certificate, key), or not take this client ID or user"
        }
        (false, true) => "it may refuse the client certificate, or not take this client ID or user",
        (true, _) => "it may want TLS (mqtts://), or not take this client ID or user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(error: rustls::Error) -> LinkError {
        LinkError::Lost(Box::new(ConnectionError::Io(io::Error::new(io::ErrorKind::InvalidData, error))))
    }

    fn config(text: &str) -> ExternalConfig {
        toml::from_str(&format!("url = \"mqtts://broker.example\"\n{text}")).unwrap()
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_what_to_do() {
        use AlertDescription as Alert;
        use rustls::Error::{AlertReceived, InvalidCertificate};
        let with_ca = "ca = \"ours.pem\"";
        let with_certificate = "certificate = \"c.pem\"\nkey = \"k.pem\"";
        for (text, error, part) in [
            ("", InvalidCertificate(CertificateError::UnknownIssuer), "set ca to"),
            (with_ca, InvalidCertificate(CertificateError::UnknownIssuer), "no authority in ours.pem"),
            ("", InvalidCertificate(CertificateError::NotValidForName), "not for broker.example"),
            ("", InvalidCertificate(CertificateError::Expired), "renewed at the broker"),
            ("", InvalidCertificate(CertificateError::NotValidYet), "clock"),
            ("", AlertReceived(Alert::CertificateRequired), "set certificate and key"),
            ("", AlertReceived(Alert::HandshakeFailure), "set certificate and key"),
            (with_certificate, AlertReceived(Alert::CertificateExpired), "c.pem has expired"),
            (with_certificate, AlertReceived(Alert::UnknownCA), "does not know the authority"),
            (with_certificate, AlertReceived(Alert::BadCertificate), "BadCertificate"),
        ] {
            let explained = explain(lost(error), &config(text));
            assert!(matches!(explained, LinkError::Tls { .. }), "{explained:?}");
            assert!(explained.to_string().contains(part), "{part}: {explained}");
        }
    }

    #[test]
    fn a_broker_that_hangs_up_without_a_word_is_said_to_with_what_may_be_missing() {
        for (text, part) in [
            ("url = \"mqtts://a\"", "client certificate (certificate, key)"),
            ("url = \"mqtts://a\"\ncertificate = \"c\"\nkey = \"k\"", "refuse the client certificate"),
            ("url = \"mqtt://a\"", "mqtts://"),
        ] {
            let aborted = ConnectionError::MqttState(StateError::ConnectionAborted);
            let explained = explain(LinkError::Lost(Box::new(aborted)), &toml::from_str(text).unwrap());
            assert!(explained.to_string().contains(part), "{explained}");
        }
    }

    #[test]
    fn a_broker_that_hangs_up_over_a_subscription_is_said_to_over_which() {
        let aborted = || LinkError::Lost(Box::new(ConnectionError::MqttState(StateError::ConnectionAborted)));
        let explain = |filter: &str| explain_subscription(aborted(), &[filter.to_owned()]).to_string();
        let plain = explain("state/+/get");
        assert!(plain.contains("state/+/get") && !plain.contains("never"), "{plain}");
        let shared = explain("$share/a/state/+/get");
        assert!(shared.contains("shared = \"never\""), "{shared}");
        assert!(matches!(explain_subscription(aborted(), &[]), LinkError::Lost(_)));
        let timeout = LinkError::Lost(Box::new(ConnectionError::NetworkTimeout));
        assert!(matches!(explain_subscription(timeout, &["a".to_owned()]), LinkError::Lost(_)));
    }

    #[test]
    fn what_is_not_of_certificates_stays_what_it_is() {
        for error in [
            lost(rustls::Error::AlertReceived(AlertDescription::InternalError)),
            lost(rustls::Error::HandshakeNotComplete),
            LinkError::Lost(Box::new(ConnectionError::NetworkTimeout)),
        ] {
            assert!(matches!(explain(error, &config("")), LinkError::Lost(_)));
        }
        assert!(matches!(explain(LinkError::Silent, &config("")), LinkError::Silent));
    }
}
