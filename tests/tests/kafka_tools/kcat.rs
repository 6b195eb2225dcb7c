//! kcat in its modes, as further steps that are asked of both clusters: -L, -Q, -P, -C and -G, with what they take.

use crate::scenario::{Step, step};

pub(crate) fn steps() -> Vec<Step> {
    let mut all = vec![step("topics", "{at} --create --topic modes --partitions 3")];
    all.extend(lists());
    all.extend(produces());
    all.extend(consumes());
    all.extend(in_groups());
    all
}

fn kcat(args: &'static str) -> Step {
    step("kcat", args)
}

fn lists() -> Vec<Step> {
    vec![
        kcat("-L").unordered().contains(&["(controller)"]),
        kcat("-L -t modes").contains(&["with 3 partitions"]),
        kcat("-L -J -t modes").contains(&["\"leader\":1"]),
        // Not by -L: whether its one answer knows the new topic already, is a race in Kafka as well.
        kcat("-P -t made").input("first\n"),
        kcat("-L -t made").contains(&["topic \"made\" with 1 partitions"]),
    ]
}

fn produces() -> Vec<Step> {
    vec![
        kcat("-P -t modes -p 0 -k fixed -H a=1 -H b=").input("one\ntwo\n"),
        kcat("-P -t modes -p 0 -D ; -K = -T").input("k1=v1;k2=v2;k3=").contains(&["k1=v1"]),
        kcat("-P -t modes -p 0 -K = -Z").input("gone=\n"),
        kcat("-P -t modes -p 0 -c 1").input("the only\nnever sent\n"),
        kcat("-P -t modes -p 1 -l {files}/lines").file(&[("lines", "line 1\nline 2\n")]),
        kcat("-P -t modes -p 1 {files}/lines {files}/lines"),
        kcat("-P -t modes -p 1 -F {files}/kcat.conf")
            .input("set by a file\n")
            .file(&[("kcat.conf", "acks=1\ncompression.type=zstd\nenable.idempotence=false\n")]),
        kcat("-P -t modes -p 1 -X acks=0").input("nobody answers\n"),
        kcat("-P -t modes -p 1 {files}/numbers").file(&[("numbers", "\0\0\0\x07\0\0\0\x08text")]),
        kcat("-P -t modes -p 77").input("nowhere\n").refused(),
    ]
}

fn consumes() -> Vec<Step> {
    vec![
        kcat("-Q -t modes:0:-1 -t modes:1:-2 -t modes:2:0").contains(&["modes [0] offset 7"]),
        kcat("-Q -t modes:0:1 -t modes:1:99999999999999"),
        kcat("-Q -t absent:0:1").refused(),
        kcat("-C -t modes -e -q").unordered().contains(&["line 2"]),
        kcat("-C -t modes -p 0 -e -q -J")
            .contains(&["\"headers\":[\"a\",\"1\",\"b\",\"\"]", "\"payload\":null"]),
        kcat("-C -t modes -p 0 -e -q -f %t|%p|%o|%k|%K|%s|%S|%h|%T\\n")
            .contains(&["modes|0|0|fixed|5|one|3|a=1"]),
        kcat("-C -t modes -p 0 -e -q -Z -K | -O -D #").contains(&["gone|NULL#"]),
        kcat("-C -t modes -p 1 -e -q -o 6 -s value=>iis").contains(&["78text"]),
        kcat("-C -t modes -p 0 -e -q -o -2").contains(&["the only"]),
        kcat("-C -t modes -p 0 -e -q -o 3 -c 1").contains(&["v2"]),
        kcat("-C -t modes -p 0 -e -q -o end"),
        kcat("-C -t modes -p 0 -e -q -o s@1 -o e@99999999999999").contains(&["the only"]),
        kcat("-C -t modes -p 0 -e -q -o 99 -X auto.offset.reset=error").refused(),
        kcat("-C -t modes -p 77 -e -q").refused(),
        kcat("-C -t absent -e -q").refused(),
    ]
}

fn in_groups() -> Vec<Step> {
    let commits = "-C -t modes -p 0 -q -X group.id=stored -X auto.offset.reset=earliest -o stored -c 2";
    vec![
        kcat("-G balanced -q -c 14 -X auto.offset.reset=earliest modes")
            .unordered()
            .contains(&["the only", "set by a file"]),
        kcat("-P -t modes -p 2").input("later\n"),
        kcat("-G balanced -q -c 1 -X auto.offset.reset=earliest ^mod.*").contains(&["later"]),
        kcat(commits).contains(&["one\ntwo\n"]),
        kcat(commits).contains(&["v1\nv2\n"]),
        step("consumer-groups", "{at} --describe --group balanced").unordered(),
        step("consumer-groups", "{at} --describe --group stored").unordered(),
    ]
}
