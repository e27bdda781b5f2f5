use super::*;

/// `{'data': arange(6, dtype='u1').reshape(2, 3), 'fine_labels': [1, 300], b'x': b'\xff\n'}` by CPython 3.11 and numpy 2, in each
/// protocol, as hexadecimal digits.
const PROTOCOLS: [&str; 6] = [
    "286470300a56646174610a70310a636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a70320a28\
     636e756d70790a6e6461727261790a70330a2849300a7470340a635f636f646563730a656e636f64650a70350a2856620a70360a566c61\
     74696e310a70370a7470380a5270390a747031300a527031310a2849310a2849320a49330a747031320a636e756d70790a64747970650a\
     7031330a285675310a7031340a4930300a4930310a747031350a527031360a2849330a567c0a7031370a4e4e4e492d310a492d310a4930\
     0a747031380a624930300a67350a28565c753030303001020304050a7031390a67370a747032300a527032310a747032320a6273566669\
     6e655f6c6162656c730a7032330a286c7032340a49310a61493330300a617367350a2856780a7032350a67370a747032360a527032370a\
     67350a2856ff5c75303030610a7032380a67370a747032390a527033300a732e",
    "7d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a710228\
     636e756d70790a6e6461727261790a7103284b00747104635f636f646563730a656e636f64650a71052858010000006271065806000000\
     6c6174696e31710774710852710974710a52710b284b01284b024b0374710c636e756d70790a64747970650a710d285802000000753171\
     0e4930300a4930310a74710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b00747112624930300a680528580600\
     00000001020304057113680774711452711574711662580b00000066696e655f6c6162656c7371175d7118284b014d2c01656805285801\
     000000787119680774711a52711b6805285803000000c3bf0a711c680774711d52711e752e",
    "80027d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a71\
     02636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c\
     6174696e31710786710852710987710a52710b284b014b024b0386710c636e756d70790a64747970650a710d58020000007531710e8988\
     87710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b007471126289680558060000000001020304057113680786\
     711452711574711662580b00000066696e655f6c6162656c7371175d7118284b014d2c016568055801000000787119680786711a52711b\
     68055803000000c3bf0a711c680786711d52711e752e",
    "80037d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a71\
     02636e756d70790a6e6461727261790a71034b008571044301627105877106527107284b014b024b03867108636e756d70790a64747970\
     650a710958020000007531710a898887710b52710c284b0358010000007c710d4e4e4e4affffffff4affffffff4b0074710e6289430600\
     0102030405710f74711062580b00000066696e655f6c6162656c7371115d7112284b014d2c016543017871134302ff0a7114752e",
    "800495bc000000000000007d94288c0464617461948c166e756d70792e5f636f72652e6d756c74696172726179948c0c5f7265636f6e73\
     74727563749493948c056e756d7079948c076e6461727261799493944b0085944301629487945294284b014b024b03869468058c056474\
     7970659493948c02753194898887945294284b038c017c944e4e4e4affffffff4affffffff4b0074946289430600010203040594749462\
     8c0b66696e655f6c6162656c73945d94284b014d2c0165430178944302ff0a94752e",
    "800595a7000000000000007d94288c0464617461948c136e756d70792e5f636f72652e6e756d65726963948c0b5f66726f6d6275666665\
     7294939428960600000000000000000102030405948c056e756d7079948c0564747970659493948c02753194898887945294284b038c01\
     7c944e4e4e4affffffff4affffffff4b007494624b024b0386948c014394749452948c0b66696e655f6c6162656c73945d94284b014d2c\
     0165430178944302ff0a94752e",
];
/// `{'f': asfortranarray(array([[1, 2], [3, -4]], dtype='>i4')), 's': int64(7)}` in protocol 2.
const COLUMNS: &str = "80027d7100285801000000667101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e\
     756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c617469\
     6e31710786710852710987710a52710b284b014b024b0286710c636e756d70790a64747970650a710d58020000006934710e898887710f\
     527110284b0358010000003e71114e4e4e4affffffff4affffffff4b00747112628868055814000000000000010000000300000002c3bf\
     c3bfc3bfc3bc71136807867114527115747116625801000000737117636e756d70792e5f636f72652e6d756c746961727261790a736361\
     6c61720a7118680d580200000069387119898887711a52711b284b0358010000003c711c4e4e4e4affffffff4affffffff4b0074711d62\
     680558080000000700000000000000711e680786711f527120867121527122752e";

fn bytes(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn error(pickle: &[u8]) -> String {
    format!("{:#}", Pickle::read(pickle).unwrap_err())
}

#[test]
fn every_protocol_gives_the_same() {
    for digits in PROTOCOLS {
        let pickle = Pickle::read(&bytes(digits)).unwrap();
        let root = pickle.root();
        let data = root.get("data").unwrap().array().unwrap();
        assert_eq!(data, Array { shape: &[2, 3], kind: "u1", bytes: &[0, 1, 2, 3, 4, 5] });
        assert_eq!(root.get("fine_labels").unwrap().integers().unwrap(), [1, 300]);
        assert_eq!(root.get("x").unwrap().bytes().unwrap(), [255, b'\n']);
        assert!(root.get("labels").is_none() && root.get("data").unwrap().get("x").is_none());
    }
}

#[test]
fn arrays_by_columns_and_with_large_ends_first_are_put_in_order() {
    let pickle = Pickle::read(&bytes(COLUMNS)).unwrap();
    let array = pickle.root().get("f").unwrap().array().unwrap();
    assert_eq!((array.shape, array.integers().unwrap()), (&[2, 2][..], vec![1, 2, 3, -4]));
    assert_eq!(pickle.root().get("s").unwrap().integer(), Some(7));
}

#[test]
fn whole_numbers_of_any_length_are_read_and_large_ones_are_nobodys() {
    let integer = |pickle: &[u8]| {
        let pickle = Pickle::read(pickle).unwrap();
        (pickle.root().integer(), pickle.root().name())
    };
    for (pickle, expected) in [
        (&b"\x80\x02\x8a\x00."[..], Some(0)),
        (b"\x80\x02\x8a\x09\x07\0\0\0\0\0\0\0\0.", Some(7)),
        (b"\x80\x02\x8a\x09\xf9\xff\xff\xff\xff\xff\xff\xff\xff.", Some(-7)),
        (b"\x80\x02\x8a\x08\0\0\0\0\0\0\0\x80.", Some(i64::MIN)),
        (b"\x80\x02\x8a\x09\0\0\0\0\0\0\0\x80\0.", None),
        (b"\x80\x02\x8b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\x01.", None),
        (b"L9223372036854775807L\n.", Some(i64::MAX)),
        (b"L9223372036854775808L\n.", None),
        (b"I-9223372036854775809\n.", None),
    ] {
        assert_eq!(integer(pickle), (expected, "a number"), "{pickle:?}");
    }
    assert!(error(b"L12x\n.").contains("no whole number"));
}

#[test]
fn nothing_is_called() {
    let text = error(b"cposix\nsystem\n(S'echo hacked'\ntR.");
    assert!(text.contains("it would call `posix.system`") && text.contains("byte 31"), "{text}");
    assert!(error(b"\x80\x02cbuiltins\neval\nU\x031+1\x85R.").contains("`builtins.eval`"));
    // An instance of any class.
    assert!(error(b"(i__main__\nEvil\np0\n.").contains("plain data does not need"));
}

#[test]
fn cut_or_flipped_anywhere_it_is_an_error_or_something_else_and_never_a_panic() {
    for digits in PROTOCOLS.iter().chain([&COLUMNS]) {
        let whole = bytes(digits);
        for length in 0..whole.len() {
            assert!(Pickle::read(&whole[..length]).is_err(), "cut to {length}");
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(pickle) = Pickle::read(&flipped) else { continue };
            let values = ["data", "fine_labels", "f", "s"].map(|key| pickle.root().get(key));
            values.into_iter().flatten().for_each(|value| drop((value.integers(), value.integer(), value.name())));
        }
    }
}

#[test]
fn a_few_bytes_do_not_ask_for_all_of_memory() {
    // A large text that is copied again and again.
    let mut copies = b"\x80\x02X\x10\x27\x00\x00".to_vec();
    copies.extend([b'a'; 10_000]);
    copies.extend(b"q\x000c_codecs\nencode\nq\x010");
    for _ in 0..10_000 {
        copies.extend(b"h\x01h\x00h\x00\x86R0");
    }
    assert!(error(&copies).contains("again and again"), "{}", error(&copies));
    assert!(error(b"\x80\x02Nr\xff\xff\xff\xff.").contains("beyond all that there can be"));
    assert!(error(b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").contains("cut short"));
    // A list in itself is read, and whoever looks into it comes to no end that is not asked for.
    let pickle = Pickle::read(b"]q\x00h\x00a.").unwrap();
    assert_eq!(pickle.root().items().unwrap().len(), 1);
    assert_eq!(pickle.root().integers(), None);
}
