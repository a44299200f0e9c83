//! PDF files, written by hand.

/// A line of text at a place, from the lower left corner, in points.
pub struct Text<'t> {
    pub size: f64,
    pub x: f64,
    pub y: f64,
    pub text: &'t str,
}

impl<'t> Text<'t> {
    pub fn new(size: f64, x: f64, y: f64, text: &'t str) -> Self {
        Self { size, x, y, text }
    }
}

/// Objects with their numbers, put together with a cross-reference table.
#[derive(Default)]
pub struct Objects(Vec<String>);

impl Objects {
    /// Adds an object and says its number.
    pub fn add(&mut self, body: impl Into<String>) -> usize {
        self.0.push(body.into());
        self.0.len()
    }

    pub fn stream(&mut self, content: &str) -> usize {
        self.add(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()))
    }

    /// The file; object `root` is the catalog, `extra` goes into the trailer.
    pub fn file(&self, root: usize, extra: &str) -> Vec<u8> {
        let mut file = String::from("%PDF-1.7\n");
        let mut offsets = Vec::new();
        for (index, body) in self.0.iter().enumerate() {
            offsets.push(file.len());
            file.push_str(&format!("{} 0 obj\n{body}\nendobj\n", index + 1));
        }
        let table = file.len();
        file.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1));
        for offset in &offsets {
            file.push_str(&format!("{offset:010} 00000 n \n"));
        }
        file.push_str(&format!(
            "trailer\n<< /Size {} /Root {root} 0 R {extra} >>\nstartxref\n{table}\n%%EOF\n",
            offsets.len() + 1
        ));
        file.into_bytes()
    }
}

/// A document of these pages, in Helvetica. The bytes 1 and 2 are the ligatures fi and ffi.
pub fn document(pages: &[&[Text<'_>]]) -> Vec<u8> {
    let (objects, root) = objects(pages);
    objects.file(root, "")
}

pub fn objects(pages: &[&[Text<'_>]]) -> (Objects, usize) {
    let mut objects = Objects::default();
    let font = objects.add(
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica \
         /Encoding << /Type /Encoding /BaseEncoding /WinAnsiEncoding /Differences [1 /fi /ffi] >> >>",
    );
    let tree = font + 1 + pages.len() * 2;
    let mut kids = String::new();
    for page in pages {
        let content: String = page
            .iter()
            .map(|line| {
                let escaped = line.text.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
                format!("BT /F1 {} Tf 1 0 0 1 {} {} Tm ({escaped}) Tj ET\n", line.size, line.x, line.y)
            })
            .collect();
        let content = objects.stream(&content);
        let page = objects.add(format!(
            "<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 595 842] /Contents {content} 0 R \
             /Resources << /Font << /F1 {font} 0 R >> >> >>"
        ));
        kids.push_str(&format!("{page} 0 R "));
    }
    let tree = objects.add(format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", pages.len()));
    let root = objects.add(format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    (objects, root)
}

/// A page that draws a picture and no text, as a scanner makes it.
pub fn scan() -> Vec<u8> {
    let mut objects = Objects::default();
    let image = objects.add(
        "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>\n\
         stream\nx\nendstream",
    );
    let content = objects.stream("q 595 0 0 842 0 0 cm /I1 Do Q");
    let page = objects.add(format!(
        "<< /Type /Page /Parent 4 0 R /MediaBox [0 0 595 842] /Contents {content} 0 R /Resources << /XObject << /I1 {image} 0 R >> >> >>"
    ));
    let tree = objects.add(format!("<< /Type /Pages /Kids [{page} 0 R] /Count 1 >>"));
    let root = objects.add(format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    objects.file(root, "")
}

/// A file that asks for a password which is not the empty one.
pub fn encrypted() -> Vec<u8> {
    let (mut objects, root) = objects(&[&[Text::new(11.0, 72.0, 700.0, "secret")]]);
    let nonsense = "41".repeat(32);
    let encrypt = objects
        .add(format!("<< /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O <{nonsense}> /U <{nonsense}> >>"));
    objects.file(root, &format!("/Encrypt {encrypt} 0 R /ID [<00> <00>]"))
}

/// Files that go round in circles.
pub fn loops() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = Vec::new();
    let mut tree = Objects::default();
    let root = tree.add("<< /Type /Catalog /Pages 2 0 R >>");
    tree.add("<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 9999999 >>");
    tree.add("<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 9999999 /Parent 3 0 R >>");
    files.push(("page tree", tree.file(root, "")));
    let good = document(&[&[Text::new(11.0, 72.0, 700.0, "words before the loop")]]);
    let text = String::from_utf8_lossy(&good).into_owned();
    let table: usize =
        text.rsplit("startxref\n").next().and_then(|end| end.lines().next()).unwrap().parse().unwrap();
    files.push(("xref to itself", text.replace("/Size", &format!("/Prev {table} /Size")).into_bytes()));
    files.push((
        "xref stream in itself",
        text.replace("/Size", &format!("/XRefStm {table} /Size")).into_bytes(),
    ));
    // An object stream that says it is inside itself, and a length that is its own length.
    let mut streams = Objects::default();
    let root = streams.add("<< /Type /Catalog /Pages 2 0 R >>");
    streams.add("<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    streams.add("<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources 5 0 R >>");
    streams.add("<< /Length 4 0 R >>\nstream\n/X1 Do\nendstream");
    streams.add("<< /XObject << /X1 6 0 R >> >>");
    streams.add("<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources 5 0 R /Length 14 >>\nstream\n/X1 Do /X1 Do \nendstream");
    streams.add("<< /Type /ObjStm /N 1 /First 4 /Extends 7 0 R /Length 8 >>\nstream\n7 0 7 0 R\nendstream");
    files.push(("forms that draw themselves", streams.file(root, "")));
    files
}

/// A page whose font maps the codes A, B, … to these letters, drawn from left to right as they look.
pub fn with_letters(letters: &str, drawn: &str) -> Vec<u8> {
    let mut objects = Objects::default();
    let codes: String = letters
        .chars()
        .zip(b'A'..)
        .map(|(letter, code)| format!("<{code:02X}> <{:04X}>\n", u32::from(letter)))
        .collect();
    let map = objects.stream(&format!(
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n\
         1 begincodespacerange <00> <FF> endcodespacerange\n{} beginbfchar\n{codes}endbfchar\nendcmap end end",
        letters.chars().count()
    ));
    let font =
        objects.add(format!("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode {map} 0 R >>"));
    let content = objects.stream(&format!("BT /F1 12 Tf 1 0 0 1 72 700 Tm ({drawn}) Tj ET"));
    let page = objects.add(format!(
        "<< /Type /Page /Parent 5 0 R /MediaBox [0 0 595 842] /Contents {content} 0 R /Resources << /Font << /F1 {font} 0 R >> >> >>"
    ));
    let tree = objects.add(format!("<< /Type /Pages /Kids [{page} 0 R] /Count 1 >>"));
    let root = objects.add(format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    objects.file(root, "")
}
