//! Imports and exports that come to another end than they set out for.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::Child,
};

use super::*;

/// A command of which somebody else decides when it ends.
struct Underway {
    process: Child,
    told: BufReader<std::process::ChildStderr>,
}

impl Underway {
    fn new(shop: &Shop, arguments: &[&str]) -> Underway {
        let mut process = shop
            .command(&shop.url, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(process.stderr.take().unwrap());
        Underway { process, told }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success(), "{name}");
    }

    /// Waits until this is so, and fails if the command ends before.
    fn until(&mut self, is_so: impl Fn() -> bool) {
        while !is_so() {
            assert!(self.process.try_wait().unwrap().is_none(), "it ended too early");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads on until a line that holds this.
    fn until_told(&mut self, what: &str) {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert!(
                self.told.read_line(&mut line).unwrap() > 0,
                "it ended without saying: {what}"
            );
        }
    }

    /// Its code, and what else it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.told.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

#[test]
fn an_export_that_is_stopped_leaves_nothing_of_anybody_behind() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..6000));
    assert_eq!(shop.import(&file, &[]).code, 0);
    let (whole, part) = (shop.path("int.jsonl"), shop.path("int.jsonl.part"));
    let export = [
        "preferences",
        "export",
        "--partition",
        "shop",
        "--output",
        whole.to_str().unwrap(),
    ];
    let is_begun = || std::fs::metadata(&part).is_ok_and(|about| about.permissions().mode() & 0o777 == 0o600);
    // What an earlier one left may have been opened to others.
    std::fs::write(&part, "left over").unwrap();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (signal, is_removed) in [("-INT", true), ("-TERM", true), ("-KILL", false)] {
        let mut running = Underway::new(&shop, &export);
        running.until(is_begun);
        // Held, so that it can't be done before the next line.
        running.signal("-STOP");
        let second = shop.export("shop", "int.jsonl");
        assert!(second.code == 2 && second.err.contains("another export"), "{second:?}");
        running.signal(signal);
        if is_removed {
            running.signal("-CONT");
        }
        let (code, said) = running.end();
        assert!(!whole.exists(), "{signal}");
        assert_eq!(part.exists(), !is_removed, "{signal}");
        if is_removed {
            assert_eq!(code, Some(1), "{said}");
            assert!(
                said.contains("int.jsonl was not written, and what there was of it is removed"),
                "{said}"
            );
        }
    }
    // What a kill left is replaced.
    assert_eq!(shop.export("shop", "int.jsonl").code, 0);
    assert_eq!(shop.read("int.jsonl").lines().count(), 6000);
    assert!(!part.exists());
}

#[test]
fn an_import_says_that_the_server_is_away_and_that_it_is_back_and_does_not_wait_against_anybodys_will() {
    let mut shop = Shop::start();
    let file = shop.file("people.csv", people(0..30_000));
    let import = [
        "preferences",
        "import",
        &file,
        "--partition",
        "shop",
        "--concurrency",
        "2",
    ];
    let mut running = Underway::new(&shop, &import);
    running.until(|| shop.mark("people.csv") > 0);
    shop.server.kill();
    running.until_told("cannot be reached");
    shop.go_on();
    running.until_told("the server answers again");
    shop.server.kill();
    running.until_told("trying again until it has been 5 minutes; Ctrl-C ends at once");
    let asked = Instant::now();
    running.signal("-INT");
    let (code, said) = running.end();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(
        code == Some(1) && said.contains("the same command goes on from there"),
        "{said}"
    );
    shop.go_on();
    let resumed = shop.import(&file, &[]);
    assert!(
        resumed.code == 0 && resumed.out.contains("30,000 rows stored, 0 refused"),
        "{resumed:?}"
    );
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_answers() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..40_000));
    let import = ["preferences", "import", &file, "--partition", "shop"];
    let mut running = Underway::new(&shop, &import);
    running.until(|| shop.mark("people.csv") > 0);
    // A server that takes calls and answers none.
    let hold = |name: &str| {
        Command::new("kill")
            .args([name, &shop.server.id().to_string()])
            .status()
            .unwrap()
    };
    hold("-STOP");
    running.signal("-INT");
    running.until_told("Ctrl-C again ends at once");
    running.signal("-INT");
    let (code, said) = running.end();
    hold("-CONT");
    assert!(code == Some(1) && said.contains("stopped:"), "{said}");
}
