//! A large roster: 100,000 users, 2,000,000 patients and as many relations as are asked for, loaded, and its bytes in memory.

use std::fmt::Write;

use phiwatch::event::{Time, Zone};
use phiwatch::roster::{Intake, Roster, load};

use crate::measure::{at_most, count_bytes, live_bytes, memory, timed};

const USERS: usize = 100_000;
const PATIENTS: usize = 2_000_000;

/// Loads the files from memory, as they would be read from a folder.
pub fn load_all(relations: usize) {
    let files = vec![
        ("users.csv".to_owned(), users().into_bytes()),
        ("patients.csv".to_owned(), patients().into_bytes()),
        ("relations.csv".to_owned(), relations_csv(relations).into_bytes()),
    ];
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{USERS} users, {PATIENTS} patients, {relations} relations: {:.0} MB of CSV", bytes as f64 / 1e6);
    let zone = Zone::get("America/Chicago").expect("a zone of the database");
    count_bytes();
    let (loaded, spent) =
        timed(|| load(&files, zone.clone(), &Intake { previous: None, at: Time(0), allow_shrink: false }));
    assert_eq!(loaded.problems, [], "the files are whole");
    println!("loaded in {:.1} s, {:.1} CPU s", spent.wall, spent.cpu);
    let both = live_bytes();
    let at = Time::parse("2026-12-31T00:00:00Z").expect("a time");
    let (again, spent) =
        timed(|| load(&files, zone.clone(), &Intake { previous: Some(&loaded.accepted), at, allow_shrink: false }));
    assert_eq!(again.problems, [], "the same files are whole");
    println!("loaded again and compared in {:.1} s, {:.1} CPU s", spent.wall, spent.cpu);
    drop(again);
    let (kept, spent) = timed(|| Roster::from_accepted(&loaded.accepted, zone));
    println!("from the accepted rows in {:.1} s, {:.1} CPU s", spent.wall, spent.cpu);
    drop((kept, loaded.accepted));
    let roster = loaded.roster;
    at_most("roster in memory", live_bytes() as f64 / (1 << 30) as f64, "GiB", 2.0);
    println!("with the accepted files beside it: {:.2} GiB", both as f64 / (1 << 30) as f64);
    println!("most memory of the process while loading: {:.2} GiB", memory("self", "VmHWM") as f64 / (1 << 30) as f64);
    println!("{roster:?}");
}

fn users() -> String {
    let mut text = String::from("user_id,name,role,department,site,status,patient_id,address_key\n");
    for user in 0..USERS {
        let (role, department) = (["nurse", "physician", "clerk", "pharmacist"][user % 4], user % 300);
        let own = if user % 10 == 0 { format!("p{}", user * 17) } else { String::new() };
        let surname = user * 31 % 40_000;
        writeln!(
            text,
            "u{user:06},Ann Name{surname},{role},unit {department},site {},active,{own},a{surname}",
            user % 12
        )
        .expect("writing to memory works");
    }
    text
}

fn patients() -> String {
    let mut text = String::from("patient_id,surname,address_key,vip,restricted\n");
    for patient in 0..PATIENTS {
        let (vip, restricted) = (patient % 1_000 == 0, patient % 700 == 0);
        let (surname, address) = (patient * 7 % 40_000, patient * 13 % 900_000);
        writeln!(text, "p{patient},Name{surname},a{address},{vip},{restricted}").expect("writing to memory works");
    }
    text
}

fn relations_csv(count: usize) -> String {
    let kinds = ["encounter", "appointment", "order", "result", "care_team"];
    let mut text = String::with_capacity(count * 75);
    text.push_str("patient_id,kind,user_id,department,start,end\n");
    for number in 0..count {
        let (patient, kind) = (number * 7_919 % PATIENTS, kinds[number % 5]);
        let with =
            if number % 5 == 0 { format!(",unit {}", number % 300) } else { format!("u{:06},", number * 31 % USERS) };
        let (month, day, hour) = (number / 28 % 12 + 1, number % 28 + 1, number % 24);
        writeln!(text, "p{patient},{kind},{with},2026-{month:02}-{day:02}T{hour:02}:00:00Z,2026-{month:02}-{day:02}T{hour:02}:45:00Z")
            .expect("writing to memory works");
    }
    text
}
