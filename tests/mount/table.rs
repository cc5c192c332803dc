//! A table of bad inputs: each row says what was tried, how it must fail, and in which words.

use std::fmt::Write as _;

use crate::harness::Output;

/// How a command must end: the table of exit codes in `kfs --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    InUse = 5,
    Denied = 8,
    Unsupported = 9,
    Invalid = 10,
}

/// Whether a message in lower case holds a word. A place like `3:5`, or `3:` for any column, may
/// also be written out.
fn says_word(message: &str, word: &str) -> bool {
    let written_out = word.split_once(':').and_then(|(line, column)| {
        line.parse::<u32>().ok()?;
        Some(format!("line {line}, column {column}"))
    });
    message.contains(&word.to_lowercase()) || written_out.is_some_and(|it| message.contains(&it))
}

/// The rows so far.
#[derive(Debug)]
pub struct Table {
    title: &'static str,
    rows: usize,
    text: String,
    wrong: Vec<String>,
}

impl Table {
    pub fn new(title: &'static str) -> Self {
        Self {
            title,
            rows: 0,
            text: String::new(),
            wrong: Vec::new(),
        }
    }

    /// A command that must fail with an exit code, and whose message must hold all `words` in any
    /// case: the thing, the place, the remedy.
    pub fn command(&mut self, name: &str, output: &Output, exit: Exit, words: &[&str]) {
        let says = output.errors();
        let lower = says.to_lowercase();
        let missing: Vec<&str> = words
            .iter()
            .filter(|word| !says_word(&lower, word))
            .copied()
            .collect();
        let told_twice = says.contains("panicked") || says.contains("RUST_BACKTRACE");
        let good = output.code == exit as i32 && missing.is_empty() && !told_twice;
        self.row(
            name,
            good,
            &format!("exit {}: {}", output.code, says.trim()),
        );
        if !good {
            self.wrong.push(format!(
                "{name}: wants exit {exit:?} and {missing:?}\n{output}"
            ));
        }
    }

    /// A system call that must fail with an errno.
    pub fn call<T>(&mut self, name: &str, result: std::io::Result<T>, errno: i32) {
        let got = result
            .map(drop)
            .map_err(|error| error.raw_os_error().unwrap_or(0));
        let show = |errno: i32| nix::errno::Errno::from_raw(errno).to_string();
        let is = match got {
            Ok(()) => "success".to_owned(),
            Err(got) => show(got),
        };
        let good = got == Err(errno);
        self.row(name, good, &is);
        if !good {
            self.wrong
                .push(format!("{name}: wants {}, got {is}", show(errno)));
        }
    }

    /// Anything else that must hold.
    pub fn fact(&mut self, name: &str, good: bool, what: &str) {
        self.row(name, good, what);
        if !good {
            self.wrong.push(format!("{name}: {what}"));
        }
    }

    fn row(&mut self, name: &str, good: bool, what: &str) {
        self.rows += 1;
        let mark = if good { "ok " } else { "BAD" };
        let mut lines = what.lines();
        let first = lines.next().unwrap_or_default();
        writeln!(self.text, "{mark} {name:48} {first}").unwrap();
        for line in lines {
            writeln!(self.text, "{:52} {line}", "").unwrap();
        }
    }

    /// Prints the table, and fails if a row is wrong or there are fewer than `at_least`.
    #[track_caller]
    pub fn finish(self, at_least: usize) {
        println!("{}: {} cases\n{}", self.title, self.rows, self.text);
        let wrong = self.wrong.join("\n");
        assert!(
            self.wrong.is_empty(),
            "{} of {} wrong:\n{wrong}",
            self.wrong.len(),
            self.rows
        );
        assert!(self.rows >= at_least, "only {} cases", self.rows);
    }
}
