//! Files in directories: globs, whole directories, hive partitions, file names.

use std::fs;

use crate::support::{gotgan, scratch};

#[test]
fn a_glob_stays_within_a_directory_and_two_stars_go_below() {
    let dir = scratch();
    for (path, text) in [
        ("logs/top.csv", "id\n1\n"),
        ("logs/2024/a.csv", "id\n10\n"),
        ("logs/2024/b c.csv", "id\n100\n"),
        ("logs/2024/empty.csv", ""),
        ("logs/2024/deep/d.csv", "id\n1000\n"),
        ("logs/2024/.hidden.csv", "id\n5\n"),
        ("logs/day=1/p.csv", "id\n10000\n"),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let sum = |name: &str| {
        let text = format!("SELECT sum(id) FROM '{name}'");
        gotgan(["-no-header", "-c", &text]).dir(dir.path()).run()
    };
    assert_eq!(sum("logs/*.csv").ok(), "1\n");
    assert_eq!(sum("logs/2024/b c.csv").ok(), "100\n");
    assert_eq!(sum("logs/2024/[ab]*.csv").ok(), "110\n");
    assert_eq!(sum("logs/20??/[ab]*.csv").ok(), "110\n");
    assert_eq!(sum("logs/*/*.csv").ok(), "10115\n");
    assert_eq!(sum("logs/**/[a-z]*.csv").ok(), "11111\n");
    assert_eq!(sum("./logs/day=*/*.csv").ok(), "10000\n");
    let directory = "SELECT sum(id) FROM read_csv('logs')";
    let ran = gotgan(["-no-header", "-c", directory]).dir(dir.path()).run();
    assert_eq!(ran.ok(), "11111\n", "what a directory hides is left out");
    assert!(sum("logs/*/none.csv").fails(1).contains("no file matches 'logs/*/none.csv'"));
    assert!(sum("logs/[.csv").fails(1).contains("not a pattern"));
}

#[test]
fn directories_and_names_of_files_are_columns() {
    let dir = scratch();
    for (path, text) in [
        ("t/day=1/kind=a%20b/x.csv", "id\n1\n2\n"),
        ("t/day=2/kind=c/x.csv", "id\n3\n"),
        ("t/day=2/kind=__HIVE_DEFAULT_PARTITION__/y.csv", "id\n4\n"),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let ask = |text: &str| gotgan(["-no-header", "-c", text]).dir(dir.path()).run();
    let all = "FROM read_csv('t/*/*/*.csv', hive_partitioning => true) ORDER BY id";
    assert_eq!(ask(all).ok(), "1,1,a b\n2,1,a b\n3,2,c\n4,2,\n");
    let one =
        "SELECT id FROM read_csv('t', hive_partitioning => true) WHERE day = '2' AND kind = 'c'";
    assert_eq!(ask(one).ok(), "3\n");
    let plan = ask(&format!("EXPLAIN {one}")).ok();
    assert!(plan.contains("kind=c/x.csv") && !plan.contains("day=1"), "{plan}");
    let names = "SELECT id, split_part(filename, '/', -1) FROM read_csv('t', filename => true,
        nullstr => '4') ORDER BY filename, id";
    assert_eq!(ask(names).ok(), "1,x.csv\n2,x.csv\n,y.csv\n3,x.csv\n");
    fs::write(dir.path().join("t/plain.csv"), "id\n9\n").unwrap();
    let err = ask(all.replace("t/*/*/*", "t/**/*").as_str()).fails(1);
    assert!(err.contains("plain.csv' has no directory day=…"), "{err}");
}
