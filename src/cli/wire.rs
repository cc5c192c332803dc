//! Requests and answers as messages on the daemon's socket: CBOR.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CliError;
use super::request::{Failure, Request, Response};

/// A request as a message.
pub(super) fn request(request: &Request) -> Result<Vec<u8>, CliError> {
    encode(request)
}

/// The answer to a message, whatever it is.
pub(super) fn answer(
    message: &[u8],
    execute: impl FnOnce(&Request) -> Result<Response, CliError>,
) -> Vec<u8> {
    let result: Result<Response, Failure> = decode::<Request>(message)
        .and_then(|request| execute(&request))
        .map_err(|error| Failure {
            exit: error.exit(),
            message: error.to_string(),
        });
    // An empty message is no answer: the command then says that it was not understood.
    encode(&result).unwrap_or_default()
}

/// What the answer in a message is.
pub(super) fn response(message: &[u8]) -> Result<Response, CliError> {
    decode::<Result<Response, Failure>>(message)?
        .map_err(|Failure { exit, message }| CliError::Passed { exit, message })
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|e| CliError::failed("a message", e.to_string()))?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CliError> {
    ciborium::from_reader(bytes).map_err(|e| {
        CliError::failed(
            "a message between kfs and the daemon",
            format!("{e}; are both of one version?"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;
    use crate::cli::place::{Bytes, NamePath};
    use crate::cli::request::Expect;

    #[test]
    fn requests_arrive_as_they_were() {
        let path = NamePath(vec![Bytes(b"a".to_vec()), Bytes(vec![0xff])]);
        let sent = Request::Put {
            path,
            value: Bytes(vec![1; 70_000]),
            expect: Expect::Value(Bytes(vec![2])),
        };
        let message = request(&sent).unwrap();
        assert!(message.len() < 71_000, "bytes are bytes");
        let answer = answer(&message, |arrived| {
            assert_eq!(*arrived, sent);
            Ok(Response::Value(Bytes(vec![3])))
        });
        assert_eq!(response(&answer).unwrap(), Response::Value(Bytes(vec![3])));
    }

    #[test]
    fn failures_keep_message_and_exit_code() {
        let message = request(&Request::Status).unwrap();
        let answer = answer(&message, |_| {
            Err(CliError::not_found("a/b", "nothing is there"))
        });
        let error = response(&answer).unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
        assert_eq!(error.to_string(), "a/b: nothing is there");
    }

    #[test]
    fn garbage_is_answered_with_an_error() {
        let answer = answer(b"\xff\xff", |_| Ok(Response::Done));
        assert!(
            response(&answer)
                .unwrap_err()
                .to_string()
                .contains("one version")
        );
        assert!(response(b"").is_err());
    }
}
