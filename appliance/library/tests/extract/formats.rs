//! Every format: what comes out of a document that is well.

use crate::support::{ENGLISH, blocks, epub, pdf, pdf::Text, read, samples, text, zim};
use cairn_library::{
    extract::{BlockKind::*, Format, Hint, Input, Limits, Notice, Reason, extract},
    split::split,
};

#[test]
fn every_sample_is_read_as_what_it_is() {
    let formats = [Format::Text, Format::Markdown, Format::Html, Format::Pdf, Format::Epub, Format::Zim];
    for ((name, bytes), format) in samples().into_iter().zip(formats) {
        let document = read(bytes, name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(document.summary.format, format, "{name}");
        assert_eq!(document.summary.language.as_deref(), Some("en"), "{name}");
        assert!(
            text(&document).contains("Boil the water for at least one minute"),
            "{name}: {}",
            text(&document)
        );
        assert_eq!(document.summary.notices, [], "{name}");
        let title = if format == Format::Zim { "The archive" } else { "Water" };
        assert_eq!(document.summary.title.as_deref(), Some(title), "{name}");
    }
}

#[test]
fn markdown_keeps_its_structure() {
    let document = read(
        "---\ntitle: \"Wells\"\nlang: en\n---\n# Digging a well\n\nFirst *look* for\nwater.\n\n1. Dig\n2. Line it\n   - with stone\n\n\
         ## What it costs\n\n| thing | price |\n|---|---|\n| stone | 5 |\n\n```sh\nls -l\n  more\n```\n<div><p>In HTML</p></div>\n",
        "a.md",
    )
    .unwrap();
    assert_eq!(document.summary.title.as_deref(), Some("Wells"));
    assert_eq!(
        blocks(&document),
        [
            (Heading(1), "Digging a well"),
            (Paragraph, "First look for water."),
            (ListItem, "Dig"),
            (ListItem, "Line it"),
            (ListItem, "with stone"),
            (Heading(2), "What it costs"),
            (TableRow, "thing | price"),
            (TableRow, "stone | 5"),
            (Code, "ls -l\n  more"),
            (Paragraph, "In HTML"),
        ]
    );
    assert_eq!(document.blocks.last().unwrap().location.anchor.as_deref(), Some("what-it-costs"));
}

#[test]
fn html_loses_its_furniture_and_keeps_its_text() {
    let page = format!(
        "<!doctype html><html lang=fr><head><title>Site | Eau</title><style>p {{}}</style></head><body>\
         <header role=banner>Site</header><nav><ul><li>Accueil</ul></nav><div class='breadcrumb navbar'>Ici</div>\
         <main><h1 id=top>Water &amp; salt</h1><p>{ENGLISH}<p>Second<br>line<script>alert('<p>no')</script>\
         <h2><a name=salt></a>Salt</h2><ul><li>one<li>two <b>bold</b></ul><dl><dt>Well<dd>A hole</dl>\
         <table><tr><th>a<th>b<tr><td>1<td>2<table><tr><td>in<td>ner</table></table>\
         <pre>x = 1\n  y</pre><p hidden>secret</p><p>H<sub>2</sub>O, 10<sup>6</sup></main>\
         <footer>Imprint</footer></body></html>"
    );
    let document = read(page, "a.html").unwrap();
    assert_eq!(
        blocks(&document),
        [
            (Heading(1), "Water & salt"),
            (Paragraph, ENGLISH),
            (Paragraph, "Second line"),
            (Heading(2), "Salt"),
            (ListItem, "one"),
            (ListItem, "two bold"),
            (ListItem, "Well: A hole"),
            (TableRow, "a | b"),
            (TableRow, "in | ner"),
            (TableRow, "1 | 2"),
            (Code, "x = 1\n  y"),
            (Paragraph, "H2O, 10^6"),
        ]
    );
    let anchors: Vec<_> = document.blocks.iter().map(|block| block.location.anchor.as_deref()).collect();
    assert_eq!((anchors[0], anchors[3], anchors[11]), (Some("top"), Some("salt"), Some("salt")));
    // The text is English, whatever the page declares.
    assert_eq!(document.summary.language.as_deref(), Some("en"));
}

#[test]
fn html_in_other_encodings() {
    let latin = b"<meta charset=iso-8859-1><p>Se\xf1al de ni\xf1os</p>";
    assert_eq!(text(&read(latin, "a.html").unwrap()), "Señal de niños");
    let arabic = b"<html><head><meta http-equiv=content-type content='text/html; charset=windows-1256'></head><p>\xe3\xc7\xc1";
    assert_eq!(text(&read(arabic, "a.html").unwrap()), "ماء");
    let hint = Hint { name: "a.html".into(), media_type: Some("text/html; charset=koi8-r".into()) };
    let russian = extract(&Input::from_bytes(*b"<p>\xd7\xcf\xc4\xc1"), &hint, &Limits::default()).unwrap();
    assert_eq!(text(&russian), "вода");
}

#[test]
fn plain_text_has_paragraphs_headings_items_and_pages() {
    let document = read(
        "Water\n=====\n\nOne line\nand the next.\n\n* dig\n* line\n  with stone\n\u{c}On page two.\n",
        "a.txt",
    )
    .unwrap();
    assert_eq!(
        blocks(&document),
        [
            (Heading(1), "Water"),
            (Paragraph, "One line and the next."),
            (ListItem, "dig"),
            (ListItem, "line with stone"),
            (Paragraph, "On page two."),
        ]
    );
    let pages: Vec<_> = document.blocks.iter().map(|block| block.location.page).collect();
    assert_eq!(pages, [Some(1), Some(1), Some(1), Some(1), Some(2)]);
}

#[test]
fn broken_utf8_is_kept_and_said() {
    let document =
        read(b"Agua potable para ni\xc3\xb1os y ni\xc3\xb1as de la monta\xc3\xb1a \xff aqu\xc3\xad", "a.txt")
            .unwrap();
    assert_eq!(text(&document), "Agua potable para niños y niñas de la montaña \u{fffd} aquí");
    assert_eq!(document.summary.notices, [Notice::ReplacedCharacters]);
}

#[test]
fn pdf_lines_become_paragraphs_with_pages() {
    let line = |y, text| Text::new(11.0, 72.0, y, text);
    let head = Text::new(9.0, 72.0, 800.0, "Handbook of wells");
    let foot = ["1", "2", "3"].map(|number| Text::new(9.0, 290.0, 30.0, number));
    let mut pages: Vec<Vec<Text<'_>>> = vec![
        vec![
            Text::new(18.0, 72.0, 740.0, "Wells"),
            line(700.0, "A \x01lter of sand and charcoal holds back what clouds the wa-"),
            line(686.0, "ter. It is a well-known way, and nothing in it is di\x02cult or"),
            line(672.0, "needs much work."),
            line(640.0, "Another paragraph begins here, and its last sentence is one that"),
            line(626.0, "does not end on this page but"),
        ],
        vec![
            line(740.0, "goes on with the next one, where it ends after a few more words"),
            line(726.0, "and a stop."),
        ],
        vec![line(740.0, "- Dig"), line(726.0, "- Line the well with stone")],
    ];
    for (page, foot) in pages.iter_mut().zip(foot) {
        page.insert(0, Text::new(head.size, head.x, head.y, head.text));
        page.push(foot);
    }
    let pages: Vec<&[Text<'_>]> = pages.iter().map(Vec::as_slice).collect();
    let document = read(pdf::document(&pages), "wells.pdf").unwrap();
    assert_eq!(
        blocks(&document),
        [
            (Heading(1), "Wells"),
            (
                Paragraph,
                "A filter of sand and charcoal holds back what clouds the water. It is a well-known way, and nothing in it is \
                 difficult or needs much work."
            ),
            (
                Paragraph,
                "Another paragraph begins here, and its last sentence is one that does not end on this page but goes on with \
                 the next one, where it ends after a few more words and a stop."
            ),
            (ListItem, "Dig"),
            (ListItem, "Line the well with stone"),
        ]
    );
    let pages: Vec<_> = document.blocks.iter().map(|block| block.location.page).collect();
    assert_eq!(pages, [Some(1), Some(1), Some(1), Some(3), Some(3)]);
}

#[test]
fn a_pdf_without_text_or_with_a_password_says_what_to_do() {
    let error = read(pdf::scan(), "scan.pdf").unwrap_err();
    assert_eq!(error.reason, Reason::ImagesOnly { pages: 1 });
    assert!(error.to_string().contains("“scan.pdf”") && error.to_string().contains("OCR"), "{error}");
    let error = read(pdf::encrypted(), "secret.pdf").unwrap_err();
    assert_eq!(error.reason, Reason::Encrypted);
    assert!(error.to_string().contains("Remove the password"), "{error}");
}

#[test]
fn a_book_is_read_in_the_order_of_its_spine() {
    let chapter = |n: u32| {
        format!(
            "<html><head><title>x</title></head><body><p>Chapter {n} text.</p><h2 id=s>Part</h2><p>More.</p></body></html>"
        )
    };
    let (one, two) = (chapter(1), chapter(2));
    let document = read(epub::book("The Well", &[("Sand", &one), ("Stone", &two)]), "b.epub").unwrap();
    assert_eq!(document.summary.title.as_deref(), Some("The Well"));
    assert_eq!(text(&document), "Chapter 1 text.\nPart\nMore.\nChapter 2 text.\nPart\nMore.");
    let last = &document.blocks.last().unwrap().location;
    assert_eq!((last.chapter.as_deref(), last.anchor.as_deref()), (Some("Stone"), Some("OEBPS/c1.xhtml#s")));
}

#[test]
fn a_locked_book_says_so() {
    let lock = r#"<encryption><enc:EncryptedData><enc:CipherReference URI="OEBPS/c0.xhtml"/></enc:EncryptedData></encryption>"#;
    let package = epub::package("Locked", 1);
    let book = epub::container(&[
        ("META-INF/container.xml", epub::CONTAINER.as_bytes()),
        ("META-INF/encryption.xml", lock.as_bytes()),
        ("OEBPS/book.opf", package.as_bytes()),
        ("OEBPS/c0.xhtml", b"\x12\x34"),
    ]);
    assert_eq!(read(book, "b.epub").unwrap_err().reason, Reason::Encrypted);
}

#[test]
fn an_archive_is_read_whatever_packs_it_and_names_it() {
    let articles = [
        ("Water", "<h1>Water</h1><p>Boil it.</p>"),
        ("Fire", "<p>Keep away.</p><h2 id=x>Out</h2><p>Sand.</p>"),
    ];
    for compression in [zim::Compression::None, zim::Compression::Xz, zim::Compression::Zstd] {
        for archive in [zim::archive(compression, &articles), zim::old_archive(compression, &articles)] {
            let document = read(archive, "a.zim").unwrap();
            assert_eq!(
                blocks(&document),
                [
                    (Heading(1), "Water"),
                    (Paragraph, "Boil it."),
                    (Heading(1), "Fire"),
                    (Paragraph, "Keep away."),
                    (Heading(2), "Out"),
                    (Paragraph, "Sand."),
                ],
                "{compression:?}"
            );
            assert_eq!(document.summary.title.as_deref(), Some("The archive"));
            let last = &document.blocks[5].location;
            assert_eq!(last.chapter.as_deref(), Some("Fire"));
            assert!(last.anchor.as_deref().unwrap().ends_with("/page_1#x"));
        }
    }
}

#[test]
fn other_files_are_refused_with_advice() {
    for (bytes, name) in [
        (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], "photo.pdf"),
        (b"\x7fELF\x02\x01\x01\0", "notes.txt"),
        (b"PK\x03\x04\x14\0\0\0word/document.xml", "letter.docx"),
        (b"GGUF\x03\0\0\0", "model.md"),
    ] {
        let error = read(bytes, name).unwrap_err();
        assert!(matches!(error.reason, Reason::Unsupported { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("“{name}” could not be read: it is a")), "{error}");
    }
    assert_eq!(read(b"", "empty.txt").unwrap_err().reason, Reason::Empty);
    assert_eq!(read(b"<script>x</script>", "a.html").unwrap_err().reason, Reason::NoText);
}

#[test]
fn the_same_file_gives_the_same_passages() {
    for (name, bytes) in samples() {
        let first = read(bytes.clone(), name).unwrap();
        let second = read(bytes, name).unwrap();
        assert_eq!(first, second, "{name}");
        assert_eq!(split(&first.blocks), split(&second.blocks), "{name}");
    }
}

#[test]
fn arabic_in_a_pdf_reads_in_order() {
    // As it is drawn, from the left: "ءاملا ﻞﻏا", with a ligature form for the last letter of the second word.
    let letters = "ءاملغ\u{fede}";
    let document = read(pdf::with_letters(letters, "ABCDB FEB"), "a.pdf").unwrap();
    assert_eq!(text(&document), "اغل الماء");
}
