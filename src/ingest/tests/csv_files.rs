//! CSV files: rows over lines, damage that costs one row, and how cells are read.

use super::*;

#[test]
fn csv_rows() {
    check("f.csv", "", &[]);
    check("f.csv", HEADER, &[]);
    check("f.csv", format!("{HEADER}\na,{ROW}\n\nb,{ROW}"), &["2 a", "4 b"]);
    check("f.txt", format!("\u{feff}{HEADER}\r\na,{ROW}\r\n"), &["2 a"]);
    check("f.csv", format!("\"event_id\",Time,Source,Actor.ID, activity \na,{ROW}\n"), &["2 a"]);
    check("f.csv", format!("{HEADER}\na,{ROW},more\nb\nc,{ROW}\n"), &["4 c", "2 syntax", "3 syntax"]);
    check("f.csv", format!("{HEADER},query\na,{ROW},\"x\ny \"\"z\"\"\"\nb,{ROW},\n"), &["2 a", "4 b"]);
    check("f.csv", format!("{HEADER}\na\"1,{ROW}\nb,{ROW}"), &["2 a\"1", "3 b"]);
    check("f.csv", format!("{HEADER}\n\"a,{ROW}\nb,{ROW}\nc,{ROW}"), &["3 b", "4 c", "2 truncated"]);
    check(
        "f.csv",
        format!("{HEADER}\n\"a,{ROW}\nb,{ROW}\n\"c,{ROW}\nd,{ROW}"),
        &["3 b", "5 d", "2 syntax", "4 truncated"],
    );
    check("f.csv", format!("{HEADER}\n\"a\"b,{ROW}\nb,{ROW}"), &["3 b", "2 syntax"]);
    check("f.csv", format!("{HEADER},actor.id\na,{ROW},u\n"), &["2 syntax"]);
    check("f.csv", "id,what\na,b\n", &["2 missing_field"]);
    // A table without a header: the first row is counted as well.
    check("f.csv", "c1,2026-03-02T15:00:00Z,ehr,u1,read,P1\n", &["1 syntax"]);
    check("f.csv", "c1,2026-03-02T15:00:00Z\nc2,2026-03-02T15:00:00Z\n", &["1 syntax", "2 missing_field"]);
    check(
        "f.csv",
        [HEADER.as_bytes(), b"\n\xff,", ROW.as_bytes(), b"\na,", ROW.as_bytes()].concat(),
        &["3 a", "2 encoding"],
    );
    check(
        "f.csv",
        format!("{HEADER}\n,{ROW}\na,2026,s,u,read\nb,2026-03-01T10:00:00Z,s,u,look"),
        &["2 missing_field", "3 bad_time", "4 unknown_value"],
    );
    check(
        "f.csv",
        format!("{HEADER},result_count,break_glass\na,{ROW},x,\nb,{ROW},,maybe\nc,{ROW},1,YES\n"),
        &["4 c", "2 wrong_type", "3 wrong_type"],
    );
    check("f.csv", format!("{HEADER}\na,{}\nb,{ROW}", "y".repeat(2 << 20)), &["3 b", "2 too_large"]);
}

#[test]
fn csv_values() {
    let header = format!("{HEADER},patients,purpose,break_glass,client.remote,result_count,raw,Ward No");
    let row = format!("a,{},p1;p2; p1,TREAT;BTG,1,no,12,\"{{\"\"x\"\":1}}\",7b", ROW.replace(",u,", ",,"));
    let (_folder, path) = file("f.csv", format!("{header}\n{row}\n").as_bytes());
    let mut reader = FileReader::open(&path, Hints::new("f"), Limits::default()).unwrap();
    let chunk = reader.next_chunk(10, u64::MAX).unwrap().unwrap();
    let event = chunk.batch.row(0);
    assert_eq!(event.actor_id(), None);
    assert_eq!(event.patients().collect::<Vec<_>>(), ["p1", "p2"]);
    assert_eq!(event.purpose().collect::<Vec<_>>(), ["TREAT", "BTG"]);
    assert_eq!((event.break_glass(), event.client_remote(), event.result_count()), (Some(true), Some(false), Some(12)));
    assert_eq!(event.raw(), Some(r#"{"x":1,"Ward No":"7b"}"#));
}
