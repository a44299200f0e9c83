//! From glyphs at places to the lines of one page.

use hayro_interpret::{
    BlendMode, ClipPath, Device, DrawMode, DrawProps, Image, ImageDrawProps, SoftMask,
    font::{Glyph, GlyphRun},
    hayro_cmap::{BfString, WritingMode},
    kurbo::{Affine, BezPath, Point, Rect, Vec2},
};

use super::direction;
use crate::extract::document::CELL_SEPARATOR;

/// Most glyphs of a page; a full page of small print has about ten thousand.
const MOST_GLYPHS: usize = 500_000;
/// Most things that a page draws. Forms that draw forms make billions of a small file.
const MOST_OPERATIONS: u32 = 2_000_000;
/// In units of the type size:
/// a glyph this far above or below the line is on another one (superscripts are less);
const LINE_TOLERANCE: f64 = 0.45;
/// a gap this wide is a space between words;
const SPACE: f64 = 0.15;
/// this wide, one between the cells of a table;
const CELL: f64 = 2.5;
/// this wide, one between columns that do not belong together;
const COLUMN: f64 = 25.0;
/// how far a glyph may reach back over the one before (kerning, accents).
const KERNING: f64 = 0.5;
/// Glyphs that are drawn twice at less than this distance are one in bold.
const SAME_PLACE: f64 = 0.1;
/// Advances of a typewriter face are equal within this share.
const TYPEWRITER_TOLERANCE: f64 = 0.02;
/// Letters after which a face can be told to be a typewriter's.
const TYPEWRITER_LETTERS: usize = 4;

/// Text of one page.
pub(super) struct PageText {
    pub(super) number: u32,
    pub(super) height: f64,
    pub(super) lines: Vec<Line>,
    /// Letters and figures.
    pub(super) letters: usize,
    /// Glyphs whose character cannot be told.
    pub(super) unknown: usize,
}

impl PageText {
    pub(super) fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.text.len()).sum()
    }
}

/// One line in reading order. Coordinates are in points from the top left corner of the page as it is read.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) baseline: f64,
    pub(super) size: f64,
    /// Every letter is equally wide: code, most likely.
    pub(super) typewriter: bool,
}

/// Gathers what a page draws.
pub(super) struct Glyphs {
    page: PageText,
    images: bool,
    count: usize,
    operations: u32,
    line: Option<OpenLine>,
    /// First glyph of the run before, to recognise bold that is drawn by drawing twice.
    run_start: Option<(Point, usize)>,
}

/// One glyph on a line: where its text begins in the line's buffer, and its extent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) start: usize,
    pub(super) left: f64,
    pub(super) right: f64,
}

struct OpenLine {
    buffer: String,
    units: Vec<Unit>,
    baseline: f64,
    size: f64,
    direction: Vec2,
}

struct Placed {
    left: f64,
    right: f64,
    baseline: f64,
    size: f64,
    direction: Vec2,
}

impl Glyphs {
    pub(super) fn new(number: u32, area: Rect) -> Self {
        let page = PageText { number, height: area.height(), lines: Vec::new(), letters: 0, unknown: 0 };
        Self { page, images: false, count: 0, operations: 0, line: None, run_start: None }
    }

    /// The page's text, and whether it draws pictures.
    pub(super) fn finish(mut self) -> (PageText, bool) {
        self.end_line();
        (self.page, self.images)
    }

    /// Counts something that is drawn. The interpreter cannot be told to stop, so past the limit it is unwound; what was
    /// gathered is kept.
    fn operation(&mut self) {
        self.operations += 1;
        if self.operations > MOST_OPERATIONS {
            std::panic::resume_unwind(Box::new("the page draws too much"));
        }
    }

    fn glyph(&mut self, text: &str, at: Placed) {
        if let Some(line) = &mut self.line {
            match line.join(&at) {
                Some(gap) => {
                    line.add(text, &at, gap);
                    return;
                }
                None => self.end_line(),
            }
        }
        let mut line = OpenLine {
            buffer: String::new(),
            units: Vec::new(),
            baseline: at.baseline,
            size: at.size,
            direction: at.direction,
        };
        line.add(text, &at, 0.0);
        self.line = Some(line);
    }

    fn end_line(&mut self) {
        if let Some(line) = self.line.take().and_then(OpenLine::finish) {
            self.page.letters += line.text.chars().filter(|c| c.is_alphanumeric()).count();
            self.page.lines.push(line);
        }
    }
}

impl OpenLine {
    /// The gap before a glyph, when it belongs to this line.
    fn join(&self, at: &Placed) -> Option<f64> {
        let last = self.units.last()?;
        let size = self.size.max(at.size);
        let same_direction = (self.direction - at.direction).hypot() < 0.01;
        if !same_direction || (at.baseline - self.baseline).abs() > LINE_TOLERANCE * size {
            return None;
        }
        let gap = at.left - last.right;
        let forward = at.left >= last.left - KERNING * size && gap <= COLUMN * size;
        if forward {
            return Some(gap.max(0.0));
        }
        // Right-to-left text that is drawn in reading order: each glyph left of the one before.
        let gap = last.left - at.right;
        (-KERNING * size..CELL * size).contains(&gap).then_some(gap.max(0.0))
    }

    fn add(&mut self, text: &str, at: &Placed, gap: f64) {
        // Superscripts do not make a line small.
        if at.size > self.size && self.units.len() < 4 {
            self.baseline = at.baseline;
        }
        self.size = self.size.max(at.size);
        let left_ward = self
            .units
            .last()
            .is_some_and(|last| at.right <= last.left + KERNING * self.size && at.left < last.left);
        let edge = self.units.last().map_or(at.left, |last| if left_ward { last.left } else { last.right });
        let separator = if gap > CELL * at.size && !self.buffer.trim().is_empty() && !text.trim().is_empty() {
            CELL_SEPARATOR
        } else if gap > SPACE * at.size && !self.buffer.ends_with(' ') && !text.starts_with(' ') {
            " "
        } else {
            ""
        };
        if !separator.is_empty() {
            let (left, right) = if left_ward { (at.right, edge) } else { (edge, at.left) };
            self.units.push(Unit { start: self.buffer.len(), left, right });
            self.buffer.push_str(separator);
        }
        self.units.push(Unit { start: self.buffer.len(), left: at.left, right: at.right });
        self.buffer.push_str(text);
    }

    fn finish(self) -> Option<Line> {
        let typewriter = self.is_typewriter();
        let (left, right) = self
            .units
            .iter()
            .filter(|unit| self.buffer.get(unit.start..).is_some_and(|text| !text.starts_with(' ')))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(left, right), unit| {
                (left.min(unit.left), right.max(unit.right))
            });
        let text = direction::in_reading_order(&self.buffer, self.units);
        let text = text.trim();
        (!text.is_empty()).then(|| Line {
            text: text.to_owned(),
            left,
            right,
            baseline: self.baseline,
            size: self.size,
            typewriter,
        })
    }

    fn is_typewriter(&self) -> bool {
        let (mut least, mut most, mut count) = (f64::INFINITY, 0.0_f64, 0);
        let mut kinds = [false; 2];
        for unit in &self.units {
            let Some(c) = self.buffer.get(unit.start..).and_then(|text| text.chars().next()) else {
                continue;
            };
            if c.is_alphanumeric() {
                (least, most) = (least.min(unit.right - unit.left), most.max(unit.right - unit.left));
                count += 1;
                kinds[0] |= "iljftrI1".contains(c);
                kinds[1] |= "mwMWaeounsdg".contains(c);
            }
        }
        // Narrow and wide letters of one width; figures alone are equally wide in most faces.
        count >= TYPEWRITER_LETTERS && kinds == [true, true] && most - least <= most * TYPEWRITER_TOLERANCE
    }
}

impl<'a> Device<'a> for Glyphs {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        self.operation();
        let vertical = matches!(run.writing_mode(), WritingMode::Vertical);
        for (index, glyph) in run.glyphs().iter().enumerate() {
            if self.count >= MOST_GLYPHS {
                return;
            }
            self.count += 1;
            let advance = match &**glyph {
                Glyph::Outline(outline) => outline.advance_width(),
                Glyph::Type3(program) => program.advance_width(),
            };
            let transform = props.transform * glyph.transform();
            let Some(at) = place(transform, f64::from(advance.unwrap_or(500.0)), vertical) else { continue };
            if index == 0 {
                let start = (transform * Point::ZERO, run.glyphs().len());
                let again = self.run_start.is_some_and(|(point, glyphs)| {
                    glyphs == start.1 && (point - start.0).hypot() < SAME_PLACE * at.size
                });
                self.run_start = Some(start);
                if again {
                    return;
                }
            }
            match glyph.as_unicode() {
                Some(BfString::Char(c)) => self.glyph(c.encode_utf8(&mut [0; 4]), at),
                Some(BfString::String(text)) => self.glyph(&text, at),
                None => {
                    self.page.unknown += 1;
                    self.glyph("\u{fffd}", at);
                }
            }
        }
    }

    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {
        self.operation();
        self.images = true;
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {
        self.operation();
    }

    fn push_clip_path(&mut self, _: &ClipPath) {
        self.operation();
    }

    fn push_clip_rect(&mut self, _: &Rect) {
        self.operation();
    }

    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {
        self.operation();
    }

    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
    fn draw_rect(&mut self, _: &Rect, _: DrawProps<'a>, _: &DrawMode) {
        self.operation();
    }
}

/// Where a glyph stands, along and across its own direction. `transform` maps thousandths of the type size to the page.
fn place(transform: Affine, advance: f64, vertical: bool) -> Option<Placed> {
    let origin = transform * Point::ZERO;
    let along = transform * Point::new(1000.0, 0.0) - origin;
    let up = transform * Point::new(0.0, 1000.0) - origin;
    let (direction, size) = if vertical { (-up, up.hypot()) } else { (along, up.hypot()) };
    let length = direction.hypot();
    if !(size.is_finite() && length.is_finite() && size > 0.0 && length > 0.0 && origin.is_finite()) {
        return None;
    }
    let unit = direction / length;
    let across = Vec2::new(-unit.y, unit.x);
    let start = origin.to_vec2().dot(unit);
    let width = if vertical { size } else { advance / 1000.0 * length };
    let (left, right) = if width < 0.0 { (start + width, start) } else { (start, start + width) };
    Some(Placed { left, right, baseline: origin.to_vec2().dot(across), size, direction: unit })
}
