//! Files as people have them, and lists of refused rows on their way back.

use super::*;

impl Shop {
    /// What a command makes of its standard input.
    fn fed(&self, arguments: &[&str], input: &str) -> Told {
        let mut process = self
            .command(&self.url, arguments)
            .current_dir(self.place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        Told {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_list_of_refused_rows_is_imported_as_often_as_it_takes() {
    let shop = Shop::start();
    let text = people(0..3)
        .replace("person-1@", "person-1 at ")
        .replace("person-2@", "person-2 at ");
    assert_eq!(shop.import(&shop.file("people.csv", text), &[]).code, 1);
    let fixed = shop
        .read("people.csv.rejected.csv")
        .replace("person-1 at ", "person-1@");
    // The one row that is still bad is in a list that is as good as the first.
    assert_eq!(shop.import(&shop.file("fixed.csv", fixed), &[]).code, 1);
    let again = shop.read("fixed.csv.rejected.csv");
    assert_eq!(
        again,
        "rejected:row,rejected:reason,email,timestamp,Analytics\n\
         3,column `email`: Identifier email did not pass validation,person-2 at example.test,2026-02-03T09:00:00.000Z,true\n"
    );
    let last = shop.file("last.csv", again.replace("person-2 at ", "person-2@"));
    assert_eq!(shop.import(&last, &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 3);

    let lines = "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"a@example.test\"\n\
                 {\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"b@example.test\",\"metdata\":[]}\n";
    let told = shop.import(&shop.file("people.jsonl", lines), &[]);
    assert!(
        told.code == 1 && told.out.contains("0 rows stored, 2 refused"),
        "{told:?}"
    );
    let list = shop.read("people.jsonl.rejected.jsonl");
    assert!(
        list.contains("\"line\":\"{") && list.contains("did you mean `metadata`?"),
        "{list}"
    );
    assert_eq!(shop.import(&shop.file("again.jsonl", &list), &[]).code, 1);
    let reasons = |text: &str| -> Vec<String> {
        let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        text.lines()
            .map(|line| record(line)["rejected"]["reason"].to_string())
            .collect()
    };
    let again = shop.read("again.jsonl.rejected.jsonl");
    assert_eq!(reasons(&again), reasons(&list));
    assert_eq!(again.matches("rejected").count(), 2, "{again}");
    let fixed = again
        .replace("b@example.test\",\"metdata\"", "b@example.test\",\"metadata\"")
        .replace("\"metdata\":[]", "\"metadata\":[]")
        .replace("a@example.test\\\"", "a@example.test\\\"}");
    assert_eq!(shop.import(&shop.file("fixed.jsonl", fixed), &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 5);
}

#[test]
fn a_list_of_refused_rows_takes_the_place_of_nothing() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..2).replace("person-1@", "person-1 at "));
    let mapping = shop.file(
        "mapping.yml",
        "columns: { email: identifier:email, timestamp: timestamp, Analytics: purpose:Analytics }",
    );
    for taken in [&mapping, &file] {
        let told = shop.import(&file, &["--mapping", &mapping, "--rejected", taken]);
        assert!(told.code == 2 && told.err.contains("is there already"), "{told:?}");
    }
    assert!(shop.read("mapping.yml").starts_with("columns"));
    assert!(shop.records("shop").is_empty());
    for _ in 0..2 {
        assert_eq!(shop.import(&file, &[]).code, 1);
    }
    shop.file("people.csv.rejected.csv", "put right by hand");
    let third = shop.import(&file, &[]);
    assert!(third.out.contains("people.csv.rejected-3.csv"), "{third:?}");
    assert_eq!(shop.read("people.csv.rejected.csv"), "put right by hand");
    assert_eq!(
        shop.read("people.csv.rejected-2.csv"),
        shop.read("people.csv.rejected-3.csv")
    );
}

#[test]
fn of_several_files_none_is_begun_while_one_cannot_be_imported() {
    let shop = Shop::start();
    let good = shop.file("good.csv", people(0..10));
    for (name, text) in [("bad.csv", "email,timestamp,Analitics\n"), ("empty.csv", "")] {
        let bad = shop.file(name, text);
        let told = shop.import(&good, &[&bad]);
        assert!(told.code == 2 && told.err.contains(name), "{told:?}");
        assert!(shop.records("shop").is_empty(), "nothing was changed, as the code says");
    }
}

#[test]
fn slips_are_told_with_what_was_meant() {
    let shop = Shop::start();
    let unknown = shop.import(&shop.file("people.csv", "email,timestmp,Analitics\n"), &[]);
    assert_eq!(unknown.code, 2);
    for said in [
        "`timestmp` (did you mean `timestamp`?)",
        "`Analitics` (did you mean `Analytics`?)",
        "known are userId, timestamp, confirmed, ",
    ] {
        assert!(unknown.err.contains(said), "{said}: {}", unknown.err);
    }
    let lines = "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"a@example.test\",\"confirmd\":false}\n\
                 {\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"b@example.test\",\"purposes\":[{\"purpose\":\"Analytics\",\"enabeld\":true}]}\n";
    let told = shop.import(&shop.file("people.jsonl", lines), &["--dry-run"]);
    let told: Vec<&str> = told.out.lines().take(2).collect();
    assert_eq!(
        told,
        [
            "people.jsonl: row 1, `confirmd` has a name that is not known here; did you mean `confirmed`?",
            "people.jsonl: row 2, purposes[0]: `enabeld` has a name that is not known here; did you mean `enabled`?",
        ]
    );
    let row = "email,timestamp,usp\nada@example.test,2026-02-03T09:00:00Z,canary\n";
    let told = shop.import(&shop.file("usp.csv", row), &["--dry-run"]);
    assert!(told.out.starts_with("usp.csv: row 2, column `usp`: "), "{told:?}");
    assert!(!told.out.contains("canary"));
}

#[test]
fn cells_may_stand_apart_by_semicolons() {
    let shop = Shop::start();
    let text = people(0..5).replace(',', ";");
    let told = shop.import(&shop.file("people.csv", &text), &[]);
    assert!(
        told.code == 0 && told.err.contains("people.csv: `;` stands between its cells"),
        "{told:?}"
    );
    assert_eq!(shop.records("shop").len(), 5);
    let odd = shop.file("odd.csv", text.replace("Analytics", "\"Analytics\"").replace(';', "~"));
    assert_eq!(shop.import(&odd, &[]).code, 2);
    assert_eq!(shop.import(&odd, &["--separator", "~"]).code, 0);
    let mixed = shop.file("mixed.csv", "email;timestamp;Analytics,Advertising\n");
    let told = shop.import(&mixed, &[]);
    assert!(told.code == 2 && told.err.contains("--separator ';'"), "{told:?}");
    assert_eq!(shop.import(&odd, &["--separator", "::"]).code, 2);
}

#[test]
fn what_comes_through_a_pipe_is_imported() {
    let shop = Shop::start();
    let import = |more: &[&str], input: &str| {
        shop.fed(
            &[&["preferences", "import", "--partition", "shop"], more].concat(),
            input,
        )
    };
    let told = import(
        &["-", "--format", "csv"],
        &people(0..300).replace("person-7@", "person-7 at "),
    );
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.out.starts_with("standard input: 299 rows stored, 1 refused"),
        "{told:?}"
    );
    assert!(shop.read("stdin.rejected.csv").contains("person-7 at "));
    assert_eq!(shop.records("shop").len(), 299);
    assert_eq!(shop.export("shop", "all.jsonl").code, 0);
    let lines = shop.read("all.jsonl");
    let into = |partition: &str, more: &[&str]| {
        let all = [
            &["preferences", "import", "--partition", partition, "--format", "jsonl"],
            more,
        ]
        .concat();
        let told = shop.fed(&all, &lines);
        assert_eq!(told.code, 0, "{told:?}");
    };
    into("as-csv", &["/dev/stdin"]);
    into("as-jsonl", &["-", "--dry-run"]);
    assert_eq!(shop.records("as-csv"), shop.records("shop"));
    assert!(shop.records("as-jsonl").is_empty());

    let file = shop.file("people.csv", people(0..1));
    for (more, why) in [
        (&["-"][..], "give --format"),
        (&["-", "--format", "parquet"], "a pipe has none"),
        (&["-", &file, "--format", "csv"], "imported alone"),
    ] {
        let told = import(more, "email,timestamp\n");
        assert!(told.code == 2 && told.err.contains(why), "{why}: {told:?}");
    }
}

#[test]
fn an_export_begins_nothing_that_it_cannot_end() {
    let shop = Shop::start();
    shop.put(json!([{ "partition": "shop", "timestamp": "2026-01-06T00:00:00Z",
        "identifiers": [{ "name": "email", "value": "ada@example.test" }] }]));
    let export = |more: &[&str]| {
        let all = [&["preferences", "export", "--partition", "shop"], more].concat();
        shop.fed(&all, "")
    };
    for (more, why) in [
        (&["-o", "out.xlsx"][..], ".csv, .jsonl or .parquet"),
        (&["-o", "out"], "give --format"),
        (&["-o", "/dev/null", "--format", "csv"], "no file"),
        (
            &["--updated-after", "2026-02-01", "--updated-before", "2026-01-01"],
            "--updated-after is later than --updated-before",
        ),
        (
            &["--timestamp-after", "2026-02-01", "--timestamp-before", "2026-01-01"],
            "nothing is between them",
        ),
        (
            &["--timestamp-after", "last week"],
            "such as 2026-02-03 or 2026-02-03T09:15:00Z",
        ),
    ] {
        let told = export(more);
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{more:?}: {told:?}");
        assert!(told.err.contains(why), "{more:?}: {told:?}");
    }
    assert!(!shop.path("out.xlsx").exists() && !shop.path("out").exists());
    let nowhere = shop.fed(&["preferences", "export", "--partition", "nowhere"], "");
    assert_eq!((nowhere.code, nowhere.out.as_str()), (4, ""), "{nowhere:?}");

    assert_eq!(export(&["-o", "out.xlsx", "--format", "csv"]).code, 0);
    let out = export(&["-o", "-"]);
    assert_eq!(out.out, shop.read("out.xlsx"));
    assert!(!shop.path("-").exists());
    for (after, lines) in [("2026-01-06", 1), ("2026-01-06T00:00:01", 0)] {
        let told = export(&["--timestamp-after", after, "--format", "jsonl"]);
        assert_eq!((told.code, told.out.lines().count()), (0, lines), "{told:?}");
    }
}
