//! The seed from which a machine learns who it is: cloud-init's data source NoCloud.
//!
//! A small CD image with the volume label `CIDATA` and the files `meta-data` and `user-data`
//! (cloud-init, *NoCloud*), in ISO 9660 (ECMA-119) with the names and modes of Rock Ridge (IEEE
//! P1282), as every Linux reads it. The rescue image reads its SSH keys from the same seed.

use super::parameters::Parameters;

const SECTOR: usize = 2048;
/// Sector of the root folder; the files follow.
const ROOT: usize = 20;
const PATH_TABLE: usize = 10;

/// The image of the seed for a machine.
pub(super) fn image(id: &str, parameters: &Parameters) -> Vec<u8> {
    let keys: String =
        parameters.ssh_keys.iter().map(|key| format!("  - {}\n", quoted(key))).collect();
    let list = |name: &str| match keys.is_empty() {
        true => String::new(),
        false => format!("{name}:\n{keys}"),
    };
    let meta = format!(
        "instance-id: {}\nlocal-hostname: {}\n{}",
        quoted(id),
        quoted(&parameters.hostname),
        list("public-keys")
    );
    let user = parameters.userdata.clone().unwrap_or_else(|| {
        format!(
            "#cloud-config\ndisable_root: false\nssh_pwauth: false\n{}",
            list("ssh_authorized_keys")
        )
    });
    iso(
        "CIDATA",
        &[
            ("METADATA.;1", "meta-data", meta.as_bytes()),
            ("USERDATA.;1", "user-data", user.as_bytes()),
        ],
    )
}

/// A string of JSON, which is one of YAML as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A CD image with these files in its root: ISO name, real name, content; in the order of ISO names.
fn iso(label: &str, files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut at = ROOT + 1;
    let mut root =
        record(&[0], ROOT, SECTOR, true, &[&susp(*b"SP", &[0xbe, 0xef, 0]), &mode(true)]);
    root.extend(record(&[1], ROOT, SECTOR, true, &[&mode(true)]));
    let mut content = Vec::new();
    for (iso_name, name, bytes) in files {
        let mut real = vec![0];
        real.extend(name.as_bytes());
        let extras = [mode(false), susp(*b"NM", &real)];
        root.extend(record(iso_name.as_bytes(), at, bytes.len(), false, &[&extras[0], &extras[1]]));
        content.extend_from_slice(bytes);
        content.resize(content.len().next_multiple_of(SECTOR), 0);
        at += bytes.len().div_ceil(SECTOR);
    }
    let mut image = vec![0; 16 * SECTOR];
    image.extend(sector(&descriptor(label, at)));
    image.extend(sector(b"\xffCD001\x01")); // end of descriptors
    let place = u32::try_from(ROOT).unwrap_or_default();
    for place in [place.to_le_bytes(), place.to_be_bytes()] {
        // Path tables: the root alone, whose parent is itself, number 1 in either byte order.
        let number = if place[0] == 0 { [0, 1] } else { [1, 0] };
        image.extend(sector(&[&[1, 0][..], &place, &number, &[0, 0]].concat()));
    }
    image.extend(sector(&root));
    image.extend(content);
    image
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn descriptor(label: &str, sectors: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(SECTOR);
    text.extend(b"\x01CD001\x01\0");
    text.extend([b' '; 32]);
    text.extend(padded(label, 32));
    text.extend([0; 8]);
    text.extend(both32(sectors));
    text.extend([0; 32]);
    text.extend(both16(1));
    text.extend(both16(1));
    text.extend(both16(SECTOR));
    text.extend(both32(PATH_TABLE));
    text.extend(18_u32.to_le_bytes());
    text.extend([0; 4]);
    text.extend(19_u32.to_be_bytes());
    text.extend([0; 4]);
    text.extend(record(&[0], ROOT, SECTOR, true, &[]));
    text.extend(padded("", 128 * 4 + 37 * 3)); // names of people, programs and files
    for _ in 0..4 {
        text.extend(b"0000000000000000\0"); // no dates
    }
    text.push(1);
    text
}

/// A record of a folder (ECMA-119, 9.1), with its entries for the system (SUSP).
fn record(name: &[u8], sector: usize, bytes: usize, folder: bool, system: &[&[u8]]) -> Vec<u8> {
    let mut text = vec![0, 0];
    text.extend(both32(sector));
    text.extend(both32(bytes));
    text.extend([70, 1, 1, 0, 0, 0, 0]); // 1970-01-01
    text.push(if folder { 2 } else { 0 });
    text.extend([0, 0]);
    text.extend(both16(1));
    text.push(u8::try_from(name.len()).unwrap_or_default());
    text.extend(name);
    if name.len().is_multiple_of(2) {
        text.push(0);
    }
    for entry in system {
        text.extend_from_slice(entry);
    }
    if text.len() % 2 == 1 {
        text.push(0);
    }
    text[0] = u8::try_from(text.len()).unwrap_or_default();
    text
}

fn susp(signature: [u8; 2], data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(data.len() + 4).unwrap_or_default();
    [&signature[..], &[length, 1], data].concat()
}

/// Rock Ridge's `PX`: mode, links, owner, group.
fn mode(folder: bool) -> Vec<u8> {
    let mode = if folder { 0o040_555 } else { 0o100_444 };
    susp(*b"PX", &[both32(mode), both32(1), both32(0), both32(0)].concat())
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, b' ');
    bytes
}

fn sector(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(SECTOR, 0);
    bytes
}

/// A number in both byte orders, one after the other.
fn both32(number: usize) -> Vec<u8> {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn both16(number: usize) -> Vec<u8> {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}
