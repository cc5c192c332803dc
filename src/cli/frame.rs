//! Messages on a byte stream.
//!
//! ```text
//! 0        4
//! +--------+----------------+
//! | length | message        |    length: u32, little endian, at most 2^30
//! +--------+----------------+
//! ```

use std::io::{self, ErrorKind, Read, Write};

/// The longest message: 1 GiB.
pub const LONGEST: u32 = 1 << 30;

/// Bytes reserved before any of a message has come: memory follows what is sent, not what is
/// announced.
const RESERVED: usize = 64 * 1024;

/// Writes one message.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is longer than [`LONGEST`]; what the stream says.
pub fn write(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len())
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| {
            let text = format!("a message of {} bytes", message.len());
            io::Error::new(ErrorKind::InvalidInput, text)
        })?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(message)?;
    stream.flush()
}

/// Reads one message; `None` if the stream ends before it begins.
///
/// # Errors
/// [`ErrorKind::InvalidData`] if a longer one than [`LONGEST`] is announced;
/// [`ErrorKind::UnexpectedEof`] if the stream ends within it; what the stream says.
pub fn read(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = read_length(stream)? else {
        return Ok(None);
    };
    if length > LONGEST {
        let text = format!("a message of {length} bytes is announced");
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let mut message = Vec::with_capacity((length as usize).min(RESERVED));
    let read = stream.take(length.into()).read_to_end(&mut message)?;
    if read < length as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

fn read_length(stream: &mut impl Read) -> io::Result<Option<u32>> {
    let mut length = [0; 4];
    let (first, rest) = length.split_at_mut(1);
    loop {
        match stream.read(first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(rest)?;
    Ok(Some(u32::from_le_bytes(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut stream = vec![];
        for message in [&b""[..], b"one", &[7; 300_000]] {
            write(&mut stream, message).unwrap();
        }
        let mut rest = stream.as_slice();
        assert_eq!(read(&mut rest).unwrap().unwrap(), b"");
        assert_eq!(read(&mut rest).unwrap().unwrap(), b"one");
        assert_eq!(read(&mut rest).unwrap().unwrap(), [7; 300_000]);
        assert_eq!(read(&mut rest).unwrap(), None);
    }

    #[test]
    fn a_stream_that_ends_within_a_message_is_an_error() {
        for stream in [&[3][..], &[3, 0, 0, 0], &[3, 0, 0, 0, b'a']] {
            let error = read(&mut &*stream).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{stream:?}");
        }
    }

    #[test]
    fn an_announcement_alone_takes_no_memory_and_too_much_is_refused() {
        let most = LONGEST.to_le_bytes();
        assert_eq!(
            read(&mut &most[..]).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
        let more = (LONGEST + 1).to_le_bytes();
        assert_eq!(
            read(&mut &more[..]).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }
}
