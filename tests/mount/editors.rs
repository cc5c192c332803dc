//! Programs that save files, each in its own way: types stay, and so does the order of elements.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::harness::{Mount, edn};

/// Values with a digit in the place of `@`, of every type that text cannot be taken for.
const LEAVES: &[&str] = &[
    "@",
    "1.@",
    "@/11",
    "@.50M",
    "10000000000000000000000@",
    ":k@",
    ":ns/k@",
    "sym@",
    r"\@",
    "#{1 @}",
    "(1 [@])",
    "#my/tag @",
    r#"#inst "202@-01-01T00:00:00.000-00:00""#,
    r#"#uuid "00000000-0000-0000-0000-00000000000@""#,
    r#"#bytes "00ff3@0a""#,
    r#""text @""#,
    r#""@""#,
];

/// Values as a map, as a vector and as a mixture of both.
fn document(digit: u32) -> String {
    let map: String = (LEAVES.iter().enumerate())
        .map(|(at, leaf)| format!(r#""k{at}" {leaf} "#))
        .collect();
    let vector = LEAVES.join(" ");
    let mixture = r#"[{:n @} [@ [:k@]] {"x" [nil {:y #{@}}]}]"#;
    format!(r#"{{"map" {{{map}}} "vec" [nil {vector}] "mix" {mixture}}}"#)
        .replace('@', &digit.to_string())
}

/// The files of it that have a digit.
fn files() -> Vec<String> {
    let map = (0..LEAVES.len()).map(|at| format!("map/k{at}"));
    let vector = (1..=LEAVES.len()).map(|at| format!("vec/{at}"));
    let mixture = ["mix/0/:n", "mix/1/0", "mix/1/1/0", "mix/2/x/1/:y"];
    (map.chain(vector))
        .chain(mixture.map(str::to_owned))
        .collect()
}

/// A way of saving.
struct Way {
    name: &'static str,
    /// A shell command that puts `$R` into the place of `$F` in the files `$@`.
    command: String,
    /// What it leaves beside each file, as `find -name` says it.
    leaves: Option<&'static str>,
}

/// A command for a single file `$f`.
fn each(name: &'static str, command: &str, leaves: Option<&'static str>) -> Way {
    Way {
        name,
        command: format!("for f; do {command}\ndone"),
        leaves,
    }
}

/// A command that takes the new content from a file `$T/new`.
fn from_new(name: &'static str, command: &str, leaves: Option<&'static str>) -> Way {
    let command = format!(r#"sed "s/$F/$R/" "$f" > "$T/new"; {command}"#);
    each(name, &command, leaves)
}

/// Runs a way, and says what is wrong with the document then.
fn complaint(m: &Mount, way: &Way, [from, to]: [u32; 2]) -> Option<String> {
    let Way { name, command, .. } = way;
    let files = files();
    m.sh(&format!(
        "cd {name}; F={from} R={to}\nset -- {}\n{command}",
        files.join(" ")
    ));
    let expected = edn(&document(to));
    // Before what was left is removed: in a vector that is beside the elements.
    let vector = m.get(format!("{name}/vec"));
    if let Some(pattern) = way.leaves {
        let left = m.sh(&format!("find {name} -name '{pattern}' -print -delete"));
        if left.lines().count() != files.len() {
            return Some(format!("{name}: left {left}, not {} files", files.len()));
        }
    }
    let found = m.get(*name);
    if found != expected {
        let text = |what: &str| m.kfs::<&str>("get", what, &[]).text();
        return Some(format!("{name}: {}\n  not {}", text(name), document(to)));
    }
    if m.get(format!("{name}/vec")) != vector {
        return Some(format!("{name}: another vector beside what was left"));
    }
    let names = m.names_as_listed(format!("{name}/vec"));
    let indexes = (0..=LEAVES.len()).map(|at| OsString::from(at.to_string()));
    (!names.iter().cloned().eq(indexes)).then(|| format!("{name}: elements {names:?}"))
}

/// Fails unless every way keeps every type, also the second time, of which nothing remembers more
/// than the store does.
#[track_caller]
fn keep_types_and_order(ways: &[Way]) {
    let m = Mount::new();
    for way in ways {
        m.put(way.name, &document(7));
    }
    let mut wrong: Vec<String> = (ways.iter())
        .filter_map(|way| complaint(&m, way, [7, 8]))
        .collect();
    m.remount();
    wrong.extend(
        ways.iter()
            .filter_map(|way| complaint(&m, way, [8, 9]))
            .map(|what| format!("after the remount, {what}")),
    );
    m.remount();
    wrong.extend(
        ways.iter()
            .filter(|way| m.get(way.name) != edn(&document(9)))
            .map(|way| format!("{}: after another remount", way.name)),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn vim_keeps_types_in_each_of_its_ways_of_writing() {
    // Without `backupskip` vim saves in place below /tmp. The files beside are looked for while
    // it has them.
    let vim = |name, options: &str, seen: &str, leaves| {
        let command = format!(
            r#"rm -f "$T/seen"
               vim -N -u NONE -i NONE -es -c 'set backupskip= {options}' -c "%s/$F/$R/" \
                   -c "call writefile(readdir(expand('%:p:h')), \$T . '/seen')" -c wq "$f"
               grep -q '{seen}' "$T/seen""#
        );
        each(name, &command, leaves)
    };
    keep_types_and_order(&[
        vim("yes", "backupcopy=yes", "swp$", None),
        vim("no", "backupcopy=no", "swp$", None),
        vim("auto", "backupcopy=auto", "swp$", None),
        vim("backup-yes", "backup backupcopy=yes", "swp$", Some("*~")),
        vim("backup-no", "backup backupcopy=no", "swp$", Some("*~")),
        vim("undo", "undofile backupcopy=auto", "swp$", Some(".*.un~")),
        vim("in-place", "nobackup nowritebackup", "swp$", None),
    ]);
}

#[test]
fn vim_takes_a_change_back_in_a_later_session() {
    let m = Mount::new();
    m.put("doc", &document(7));
    let vim = |commands: &str| {
        let files = files().join(" ");
        m.sh(&format!(
            "cd doc; for f in {files}; do \
             vim -N -u NONE -i NONE -es -c 'set backupskip= undofile' {commands} -c wq $f; done"
        ));
    };
    vim("-c '%s/7/8/'");
    m.remount();
    vim("-c 'silent undo'");
    m.sh("find doc -name '.*.un~' -delete");
    assert_eq!(m.get("doc"), edn(&document(7)));
}

#[test]
fn vim_recovers_what_it_had_not_saved_when_it_was_killed() {
    let m = Mount::new();
    m.put("v", "[7 {:n 7} 7]");
    m.sh(r#"
        for f in v/0 v/1/:n v/2; do
            vim -N -u NONE -i NONE -es -c '%s/7/8/' -c preserve \
                -c 'call system("kill -9 " . getpid())' $f || true
        done
        test "$(find v -name '.*.swp' | wc -l)" = 3
    "#);
    m.remount();
    m.sh(r#"
        test "$(cat v/0 v/1/:n v/2 | xargs)" = "7 7 7"
        for f in v/0 v/1/:n v/2; do vim -N -u NONE -i NONE -es -r $f -c 'wq!'; done
        find v -name '.*.swp' -delete
    "#);
    assert_eq!(m.get("v"), edn("[8 {:n 8} 8]"));
}

#[test]
fn emacs_keeps_types_in_each_of_its_ways_of_writing() {
    // Debian has it, a machine that cannot load packages may not.
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("emacs").exists()) {
        eprintln!("NOT TESTED: there is no emacs here: apt-get install emacs-nox");
        return;
    }
    // What is beside a file while it is changed: the lock, a symbolic link, and an automatic save.
    let emacs = |name, options: &str, leaves| Way {
        name,
        command: format!(
            r##"cat > "$T/save.el" << 'END'
(setq make-backup-files t backup-enable-predicate (lambda (_) t) create-lockfiles t)
(setq {options})
(dolist (file command-line-args-left)
  (find-file file)
  (auto-save-mode 1)
  (search-forward (getenv "F"))
  (replace-match (getenv "R") t t)
  (do-auto-save t)
  (let ((names (directory-files ".")) (name (file-name-nondirectory file)))
    (unless (and (member (concat ".#" name) names) (member (concat "#" name "#") names))
      (error "no lock or automatic save in %S" names)))
  (save-buffer)
  (kill-buffer))
(setq command-line-args-left nil)
END
F=$F R=$R emacs -Q --batch -l "$T/save.el" "$@" > "$T/emacs" 2>&1 || {{ cat "$T/emacs"; exit 1; }}"##
        ),
        leaves,
    };
    keep_types_and_order(&[
        emacs("copying", "backup-by-copying t", Some("*~")),
        emacs("renaming", "backup-by-copying nil", Some("*~")),
        emacs("numbered", "version-control t", Some("*.~*~")),
        emacs("precious", "file-precious-flag t", Some("*~")),
        emacs("no-backup", "make-backup-files nil", None),
    ]);
}

#[test]
fn filters_that_write_back_keep_types() {
    keep_types_and_order(&[
        each("sed", r#"sed -i "s/$F/$R/" "$f""#, None),
        each("sed-backup", r#"sed -i.bak "s/$F/$R/" "$f""#, Some("*.bak")),
        each("perl", r#"perl -pi -e "s/$F/$R/" "$f""#, None),
        each(
            "perl-backup",
            r#"perl -pi.orig -e "s/$F/$R/" "$f""#,
            Some("*.orig"),
        ),
        each(
            "ed",
            r#"printf ',s/%s/%s/\nw\nq\n' "$F" "$R" | ed -s "$f" 2> /dev/null"#,
            None,
        ),
        each("sponge", r#"sed "s/$F/$R/" "$f" | sponge "$f""#, None),
        Way {
            name: "python",
            command: r#"python3 -c 'if True:
                import fileinput, sys
                for line in fileinput.input(sys.argv[3:], inplace=True, mode="rb"):
                    sys.stdout.write(line.replace(sys.argv[1].encode(), sys.argv[2].encode()))
                    sys.stdout.flush()' $F $R "$@""#
                .to_owned(),
            leaves: None,
        },
    ]);
}

#[test]
fn what_puts_a_file_in_the_place_of_another_keeps_types() {
    let staged = |name, command: &str, leaves| {
        let command = format!(r#"mkdir -p "$M/stage"; cp "$T/new" "$M/stage/new"; {command}"#);
        from_new(name, &command, leaves)
    };
    keep_types_and_order(&[
        from_new("install", r#"install "$T/new" "$f""#, None),
        from_new("install-backup", r#"install -b "$T/new" "$f""#, Some("*~")),
        from_new("install-compared", r#"install -C "$T/new" "$f""#, None),
        from_new("mv-from-elsewhere", r#"mv "$T/new" "$f""#, None),
        from_new("mv-backup", r#"mv -b "$T/new" "$f""#, Some("*~")),
        from_new(
            "cp-backup",
            r#"cp --backup=numbered "$T/new" "$f""#,
            Some("*.~1~"),
        ),
        staged("mv-across", r#"mv "$M/stage/new" "$f""#, None),
        staged(
            "mv-across-backup",
            r#"mv --backup=simple "$M/stage/new" "$f""#,
            Some("*~"),
        ),
        from_new("rsync", r#"rsync -I "$T/new" "$f""#, None),
        from_new(
            "rsync-in-place",
            r#"rsync -I --inplace "$T/new" "$f""#,
            None,
        ),
        from_new(
            "rsync-delayed",
            r#"rsync -I --delay-updates "$T/new" "$f""#,
            None,
        ),
        from_new("rsync-backup", r#"rsync -Ib "$T/new" "$f""#, Some("*~")),
    ]);
}

#[test]
fn jq_and_sponge_change_numbers_and_text_that_is_json() {
    let m = Mount::new();
    m.put("doc", r#"{:n 7 :v [true 1.5 "{\"a\": 7}" -7]}"#);
    m.sh(r#"
        cd doc
        jq . :n | sponge :n
        jq .+1 :n | sponge :n
        jq not :v/0 | sponge :v/0
        jq .+1 :v/1 | sponge :v/1
        jq -c .a=8 :v/2 | sponge :v/2
        jq '-(.)' :v/3 | sponge :v/3
    "#);
    let expected = edn(r#"{:n 8 :v [false 2.5 "{\"a\":8}" 7]}"#);
    assert_eq!(m.get("doc"), expected);
    m.remount();
    assert_eq!(m.get("doc"), expected);
}

#[test]
fn git_changes_branches_over_typed_files() {
    let m = Mount::new();
    m.put("doc", &document(7));
    let git = |commands: &str| {
        m.sh(&format!(
            "cd doc
             export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME=\"$T\"
             git() {{ command git -c user.name=n -c user.email=e -c advice.detachedHead=false \
                      -c gc.auto=0 \"$@\"; }}
             turn() {{ sed -i \"s/$1/$2/\" {}; }}
             {commands}",
            files().join(" ")
        ))
    };
    // The repository is a part of the document too.
    let is = |digit: u32| {
        m.sh("mv doc/.git aside");
        let found = m.get("doc");
        m.sh("mv aside doc/.git");
        assert_eq!(found, edn(&document(digit)), "{digit}");
    };
    git("git init -b seven; git add .; git commit -m seven
         git checkout -b eight; turn 7 8; git commit -am eight");
    is(8);
    for _ in 0..2 {
        git("git checkout seven");
        is(7);
        git("git checkout eight");
        is(8);
        m.remount();
    }
    git("turn 8 9; git stash");
    is(8);
    git("git stash pop");
    is(9);
    git("git reset --hard seven");
    is(7);
    git("git checkout -B eight ORIG_HEAD");
    is(8);
    git("git revert --no-edit HEAD");
    is(7);
    git("git fsck --strict; git checkout -- .; test -z \"$(git status --porcelain)\"");
}

#[test]
fn typed_values_move_between_maps_vectors_and_documents() {
    let m = Mount::new();
    m.put("doc", &document(7));
    let moves: Vec<[String; 2]> = (0..LEAVES.len())
        .map(|at| [format!("doc/map/k{at}"), format!("other/{at}")])
        .chain(
            (1..=LEAVES.len())
                .rev()
                .map(|at| [format!("doc/vec/{at}"), format!("x/{at}")]),
        )
        .collect();
    m.put("other", "[]");
    m.sh("mkdir x");
    for [from, to] in &moves {
        m.sh(&format!("mv {from} {to}"));
    }
    assert_eq!(m.get("doc/vec"), edn("[nil]"));
    let vector = edn(&format!("[{}]", LEAVES.join(" ").replace('@', "7")));
    assert_eq!(m.get("other"), vector);
    m.remount();
    assert_eq!(m.get("other"), vector);
    for [from, to] in &moves {
        m.sh(&format!("mv {to} {from}"));
    }
    assert_eq!(m.get("doc"), edn(&document(7)));
    // To another filesystem and back only attributes can tell the type, and `mv` keeps them.
    for file in files() {
        m.sh(&format!(
            r#"mv doc/{file} "$T/away"; mv "$T/away" doc/{file}"#
        ));
    }
    m.remount();
    assert_eq!(m.get("doc"), edn(&document(7)));
    let away: &Path = &m.sandbox.path("away");
    m.sh(r#"mv doc "$T/away""#);
    assert!(fs::metadata(away.join("vec/1")).unwrap().is_file());
    m.remount();
    m.sh(r#"mv "$T/away" doc"#);
    assert_eq!(m.get("doc"), edn(&document(7)));
}

#[test]
fn what_is_moved_to_a_freed_name_takes_its_type_only_if_it_is_of_that_type() {
    let m = Mount::new();
    m.put("doc", r#"[1 "two" :three]"#);
    // Two elements change places: what is no integer has nothing to do with the one that was there.
    m.sh("cd doc; mv 0 aside; mv 1 0; mv aside 1; echo 7 > 0");
    assert_eq!(m.get("doc"), edn(r#"["7" 1 :three]"#));
    m.sh("cd doc; mv 2 2~; echo :four > new; mv new 2; rm 2~");
    assert_eq!(m.get("doc"), edn(r#"["7" 1 :four]"#));
    // A name that has been in use again is free without a type.
    m.sh("cd doc; mv 1 old; mkdir 1; rmdir 1; echo 5 > new; mv new 1; rm old");
    assert_eq!(m.get("doc"), edn(r#"["7" "5" :four]"#));
    m.remount();
    assert_eq!(m.get("doc"), edn(r#"["7" "5" :four]"#));
}
