//! What an import takes, refuses and survives.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::atomic::Ordering};

use super::{bad_day::BadDay, *};

#[test]
fn a_dry_run_names_every_bad_row_and_stores_nothing() {
    let shop = Shop::start();
    let file = shop.file(
        "people.csv",
        "email,phone,timestamp,Analytics,Product Updates,Product Updates_Frequency\n\
         good@example.test,,2026-02-03T09:00:00Z,true,,\n\
         canary,,2026-02-03T09:00:00Z,true,,\n\
         a@example.test,,canary,true,,\n\
         b@example.test,0351canary,2026-02-03T09:00:00Z,canary,,\n\
         c@example.test,0351canary,2026-02-03T09:00:00Z,,true,canary\n\
         d@example.test\n\
         ,,2026-02-03T09:00:00Z,true,,\n",
    );
    let told = shop.import(&file, &["--dry-run"]);
    let (lines, summary) = told.out.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        [
            "people.csv: row 3, column `email`: Identifier email did not pass validation",
            "people.csv: row 4, column `timestamp`: must be an ISO 8601 date and time, such as 2026-02-03T09:15:00.250Z",
            "people.csv: row 5, column `Analytics`: is neither true nor false",
            "people.csv: row 6, column `phone`: Identifier phone did not pass validation",
            "people.csv: row 6, column `Product Updates_Frequency`: is not an option of this topic",
            "people.csv: row 7, has 1 cells, and there are 6 columns",
            "people.csv: row 8, identifiers: must not be empty unless userId is given",
        ]
    );
    assert!(
        summary.starts_with("people.csv: 1 rows are good, 6 are bad; nothing was stored"),
        "{summary}"
    );
    assert_eq!((told.code, shop.records("shop").len()), (2, 0));
    assert!(!format!("{told:?}").contains("canary"));
    let good = shop.file("good.csv", people(0..250));
    assert_eq!(shop.import(&good, &["--dry-run"]).code, 0);
    assert_eq!(shop.records("shop").len(), 0);
}

#[test]
fn only_bad_rows_are_refused_and_they_can_be_put_right_where_they_are_written() {
    let shop = Shop::start();
    let mut text = people(0..350);
    text = text
        .replace("person-7@example.test", "person-7")
        .replace("person-349@example.test", "=person");
    let file = shop.file("people.csv", &text);
    let told = shop.import(&file, &["--concurrency", "2"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.out.starts_with("people.csv: 348 rows stored, 2 refused"),
        "{told:?}"
    );
    let rejected = shop.read("people.csv.rejected.csv");
    assert_eq!(
        rejected,
        "rejected:row,rejected:reason,email,timestamp,Analytics\n\
         9,column `email`: Identifier email did not pass validation,person-7,2026-02-03T09:00:00.000Z,false\n\
         351,column `email`: Identifier email did not pass validation,'=person,2026-02-03T09:00:00.000Z,false\n"
    );
    let mode = std::fs::metadata(shop.path("people.csv.rejected.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let fixed = rejected
        .replace(",person-7,", ",person-7@example.test,")
        .replace("'=person", "person-349@example.test");
    let fixed = shop.file("fixed.csv", fixed);
    assert_eq!(shop.import(&fixed, &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 350);
    // A later import leaves it alone: somebody may be at work in it.
    let file = shop.file("people.csv", people(0..350));
    assert_eq!(shop.import(&file, &[]).code, 0);
    assert_eq!(shop.read("people.csv.rejected.csv"), rejected);
}

#[test]
fn lines_of_json_are_records_and_bad_ones_are_written_with_the_reason() {
    let shop = Shop::start();
    let text = concat!(
        "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"a@example.test\",\"purposes\":[{\"purpose\":\"Analytics\",\"enabled\":true}]}\n",
        "\n{\"canary\":\n",
        "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"b@example.test\",\"purposes\":[{\"purpose\":\"Nothing\",\"enabled\":true}]}\n",
        "{\"timestamp\":3,\"userId\":\"c@example.test\"}\n",
        "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"identifiers\":[{\"name\":\"transcend\",\"value\":\"0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201\"}]}\n",
    );
    let file = shop.file("people.jsonl", text);
    let told = shop.import(&file, &[]);
    assert!(
        told.out.starts_with("people.jsonl: 1 rows stored, 4 refused"),
        "{told:?}"
    );
    let rejected = shop.read("people.jsonl.rejected.jsonl");
    let reasons: Vec<Value> = rejected
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["rejected"].clone())
        .collect();
    assert_eq!(
        reasons[0],
        json!({ "row": 3, "reason": "is not JSON from its character 10 on" })
    );
    assert_eq!(
        reasons[1],
        json!({ "row": 4, "reason": "purposes[0].purpose: is not an active purpose of this organization" })
    );
    assert_eq!(reasons[2]["row"], 5);
    assert!(
        reasons[3]["reason"]
            .as_str()
            .unwrap()
            .contains("does not match any consent profile")
    );
    // A line of that list that was put right is taken.
    let line = rejected.lines().nth(1).unwrap().replace("Nothing", "Advertising");
    assert_eq!(shop.import(&shop.file("fixed.jsonl", line), &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 2);
}

#[test]
fn a_mapping_says_which_column_is_what() {
    let shop = Shop::start();
    let file = shop.file("people.csv", "Kundin,Darf\nada@example.test,J\nbo@example.test,N\n");
    let mapping = "columns: { Kundin: identifier:email, Darf: { as: purpose:Analytics, values: { J: true, N: false } } }\n\
        constants: { timestamp: 2026-01-31T00:00:00Z, 'purpose:Analytics:sourceSystem': Old shop }\n";
    let mapping = shop.file("mapping.yml", mapping);
    let told = shop.import(&file, &["--mapping", &mapping]);
    assert_eq!(told.code, 0, "{told:?}");
    let records = shop.records("shop");
    let both = records
        .iter()
        .all(|record| record.contains("\"sourceSystem\":\"Old shop\"") && record.contains("2026-01-31"));
    assert!(both && records.len() == 2, "{records:?}");
    assert!(records.iter().any(|record| record.contains("\"enabled\":false")));
    assert_eq!(
        shop.import(&file, &["--map"]).code,
        2,
        "no questions without a terminal"
    );
}

/// Runs a command at a terminal of its own, where somebody types these lines. Gives its end, and all that the terminal showed.
#[cfg(target_os = "linux")]
fn at_a_terminal(command: &Command, lines: &str) -> (i32, String) {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let words: Vec<String> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(quoted)
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut process = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut typed = process.stdin.take().unwrap();
    typed.write_all(lines.as_bytes()).unwrap();
    let mut shown = String::new();
    process.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    drop(typed);
    (process.wait().unwrap().code().unwrap(), shown)
}

#[test]
#[cfg(target_os = "linux")]
fn at_a_terminal_each_column_is_asked_for_and_the_answers_are_kept() {
    let shop = Shop::start();
    let file = shop.file(
        "people.csv",
        "Kundin,timestamp,Darf,Laufende Nr.\nada@example.test,2026-01-31T00:00:00Z,true,17\n",
    );
    let arguments = ["preferences", "import", &file, "--partition", "shop", "--map"];
    let (code, shown) = at_a_terminal(
        &shop.command(&shop.url, &arguments),
        "email\n\nAnalitics\npurpose:Analytics\nignore\n",
    );
    assert_eq!(code, 0, "{shown}");
    for question in [
        "1 of 4, `Kundin` [ignore]: ",
        "2 of 4, `timestamp` [timestamp]: ",
        "nothing known here",
    ] {
        assert!(shown.contains(question), "{shown}");
    }
    assert!(shown.contains("1 rows stored, 0 refused"), "{shown}");
    let [record] = &shop.records("shop").into_iter().collect::<Vec<_>>()[..] else {
        panic!("one person: {shown}")
    };
    assert!(
        record.contains("ada@example.test") && record.contains("\"purpose\":\"Analytics\""),
        "{record}"
    );
    // The answers serve the next time, and are not written over.
    let kept = shop.read("people.csv.mapping.yml");
    let mapping = shop.path("people.csv.mapping.yml");
    assert_eq!(shop.import(&file, &["--mapping", mapping.to_str().unwrap()]).code, 0);
    let (code, shown) = at_a_terminal(&shop.command(&shop.url, &arguments), "email\n\nAdvertising\n\n");
    assert_eq!((code, shop.read("people.csv.mapping.yml")), (2, kept), "{shown}");
}

#[test]
fn a_file_from_a_spreadsheet_of_another_system_is_read_as_it_is_meant() {
    let shop = Shop::start();
    // A mark of its encoding, lines that end in two characters, quotes within quotes, a line end in a cell, no last line end.
    let file = shop.file(
        "people.csv",
        "\u{feff}\"email\",timestamp,Analytics,metadata:note\r\n\
         ada@example.test,2026-02-03T09:00:00Z,TRUE,\"said \"\"yes\"\", twice\r\nor so\"\r\n\
         \r\n\"bo@example.test\",2026-02-03T09:00:00Z,no,'=1+1",
    );
    let told = shop.import(&file, &[]);
    assert!(
        told.code == 0 && told.out.starts_with("people.csv: 2 rows stored, 0 refused"),
        "{told:?}"
    );
    let records: Vec<Value> = shop
        .records("shop")
        .iter()
        .map(|record| serde_json::from_str(record).unwrap())
        .collect();
    let said: BTreeSet<(String, bool, String)> = records
        .iter()
        .map(|record| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let enabled = record["purposes"][0]["enabled"].as_bool().unwrap();
            (text(&record["userId"]), enabled, text(&record["metadata"][0]["value"]))
        })
        .collect();
    let expected = [
        ("ada@example.test", true, "said \"yes\", twice\r\nor so"),
        ("bo@example.test", false, "=1+1"),
    ];
    assert_eq!(
        said,
        expected
            .map(|(who, enabled, note)| (who.to_owned(), enabled, note.to_owned()))
            .into()
    );
}

#[test]
fn what_cannot_be_imported_at_all_is_said_before_anything_is_sent_and_no_value_is_shown() {
    let shop = Shop::start();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("empty.csv", Vec::new(), "empty.csv cannot be imported: it is empty"),
        ("blank.csv", b"\n\n".to_vec(), "it is empty"),
        (
            "headless.csv",
            b"canary@example.test,2026-02-03T09:00:00Z,true\n".to_vec(),
            "names of the columns missing",
        ),
        (
            "unknown.csv",
            b"email,timestamp,Analitics\n".to_vec(),
            "what these columns are: `Analitics`",
        ),
        (
            "nobody.csv",
            b"timestamp,Analytics\n".to_vec(),
            "no column is an identifier",
        ),
        (
            "timeless.csv",
            b"email,Analytics\n".to_vec(),
            "no column is `timestamp`",
        ),
        (
            "wide.csv",
            "email,".repeat(1_000_000).into_bytes(),
            "1000001 columns, and 4096 are the most",
        ),
        (
            "binary.csv",
            b"email,\xff\xfe\n".to_vec(),
            "the name of column 2 is not UTF-8",
        ),
        (
            "utf16.csv",
            "\u{feff}email".encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "UTF-16",
        ),
        (
            "open.csv",
            b"email,\"timestamp\n".to_vec(),
            "a quote in its first row has no end",
        ),
        (
            "broken.parquet",
            b"PAR1 and no more".to_vec(),
            "it is not a whole Parquet file",
        ),
        ("people.data", b"email\n".to_vec(), "give --format"),
    ];
    for (name, content, why) in cases {
        let told = shop.import(&shop.file(name, content), &[]);
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{name}: {told:?}");
        assert!(told.err.contains(why), "{name}: {}", told.err);
        assert!(!told.err.contains("canary"), "{name}: {}", told.err);
    }
    assert_eq!(shop.import(shop.path("absent.csv").to_str().unwrap(), &[]).code, 2);
    let header = shop.import(&shop.file("header.csv", "email,timestamp\n"), &[]);
    assert!(
        header.code == 0 && header.out.starts_with("header.csv: 0 rows stored"),
        "{header:?}"
    );
    let file = shop.file("people.csv", people(0..1));
    assert_eq!(shop.import(&file, &["--partition", "nowhere"]).code, 4);
    let wrong = shop
        .command(
            &shop.url,
            &[
                "preferences",
                "import",
                &file,
                "--partition",
                "shop",
                "--key",
                "ant_wrong",
            ],
        )
        .status();
    assert_eq!(wrong.unwrap().code(), Some(5));
    let away = shop.run(
        "http://127.0.0.1:9",
        &["preferences", "import", &file, "--partition", "shop"],
    );
    assert_eq!(away.code, 69);
    assert_eq!(
        shop.run(
            "http://127.0.0.1:9",
            &["preferences", "export", "--partition", "shop", "--format", "csv"]
        )
        .code,
        69
    );
    assert_eq!(shop.export("nowhere", "nothing.jsonl").code, 4);
    assert!(!shop.path("nothing.jsonl").exists());
    assert!(shop.records("shop").is_empty());
}

#[test]
fn an_import_that_is_killed_again_and_again_goes_on_and_every_row_is_there() {
    let shop = Shop::start();
    let rows = 12_000;
    // Some bad rows, so that the list of them is cut short too.
    let text = people(0..rows).replace("00@example.test", "00");
    let bad = (0..rows).filter(|row| row % 100 == 0 && *row > 0).count();
    let file = shop.file("people.csv", &text);
    let arguments = [
        "preferences",
        "import",
        &file,
        "--partition",
        "shop",
        "--concurrency",
        "2",
    ];
    let mark = || shop.mark("people.csv");
    let mut kills = 0;
    let mut last = 0;
    let ended = loop {
        let mut process = shop
            .command(&shop.url, &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let code = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status.code();
            }
            // Past a mark of its own, so that each run comes further than the one before.
            if kills < 4 && (mark() > last || started.elapsed() > Duration::from_secs(60)) {
                std::thread::sleep(Duration::from_millis(20));
                process.kill().unwrap();
                process.wait().unwrap();
                kills += 1;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        last = mark();
        if let Some(code) = code {
            let mut out = String::new();
            process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            break (code, out);
        }
    };
    assert!(kills >= 1, "it was killed under way");
    assert_eq!(ended.0, 1, "{ended:?}");
    assert!(ended.1.contains(&format!("{} refused", bad)), "{ended:?}");
    assert_eq!(shop.records("shop").len(), rows - bad);
    let rejected = shop.read("people.csv.rejected.csv");
    let numbers: Vec<usize> = rejected
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(
        numbers,
        (1..rows)
            .filter(|row| row % 100 == 0)
            .map(|row| row + 2)
            .collect::<Vec<_>>()
    );
    assert!(!shop.path("people.csv.progress").exists());
}

#[test]
fn progress_of_another_file_partition_or_mapping_is_not_taken_for_this_one() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..40_000));
    let import = |more: &[&str]| {
        let process = shop
            .command(
                &shop.url,
                &[&["preferences", "import", &file, "--concurrency", "1"], more].concat(),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        process.unwrap()
    };
    let mut process = import(&["--partition", "shop"]);
    while shop.mark("people.csv") == 0 {
        assert!(
            process.try_wait().unwrap().is_none(),
            "it ended before it kept anything"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
        assert!(sent.unwrap().success(), "{name}");
    };
    // Held, so that it can't be done before the second has looked.
    signal("-STOP");
    let second = shop.import(&file, &[]);
    assert!(
        second.code == 2 && second.err.contains("another import has it"),
        "{second:?}"
    );
    // Ctrl-C: what is on its way is waited for, and the rest is left for the next time.
    signal("-INT");
    signal("-CONT");
    assert_eq!(process.wait().unwrap().code(), Some(1));

    let other = shop.import(&file, &["--partition", "as-csv"]);
    assert!(other.code == 2 && other.err.contains("--no-resume"), "{other:?}");
    let whole = shop.read("people.csv");
    shop.file("people.csv", whole.replacen("person-1@", "person-x@", 1));
    assert_eq!(shop.import(&file, &[]).code, 2);
    shop.file("people.csv", whole);
    let resumed = shop.import(&file, &[]);
    assert!(
        resumed.code == 0 && resumed.err.contains("going on after row"),
        "{resumed:?}"
    );
    assert!(resumed.out.contains("40,000 rows stored"), "{resumed:?}");
    assert_eq!(shop.records("shop").len(), 40_000);
}

#[test]
fn a_server_that_is_busy_or_away_for_a_while_costs_no_row() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..2000));
    let between = BadDay::before(&shop.url);
    let told = shop.run(&between.url, &["preferences", "import", &file, "--partition", "shop"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("2,000 rows stored, 0 refused"), "{told:?}");
    assert!(between.calls.load(Ordering::Relaxed) > 25, "some calls were made again");
    assert_eq!(shop.records("shop").len(), 2000);
}

#[test]
fn several_files_are_imported_one_after_the_other() {
    let shop = Shop::start();
    let (one, two) = (
        shop.file("one.csv", people(0..120)),
        shop.file("two.csv", people(100..200)),
    );
    let told = shop.import(&one, &[&two]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.out.contains("one.csv: 120 rows stored") && told.out.contains("two.csv: 100 rows stored"),
        "{told:?}"
    );
    assert_eq!(shop.records("shop").len(), 200);
    assert_eq!(shop.import(&one, &[&two, "--rejected", "all.csv"]).code, 2);
    assert!(Path::new(&one).exists());
}
