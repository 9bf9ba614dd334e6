//! SVG by hand: a drawing is a list of elements whose colours are named in `plot.css`, so that one
//! drawing serves a light and a dark page, and stands as a file of its own as well.

pub mod panel;
pub mod ruler;

use std::fmt::Write;

/// Colours and classes of all plots.
pub const STYLE: &str = include_str!("plot.css");

/// A colour by the name that it has in `plot.css`.
pub type Colour = &'static str;

/// The width of a character relative to the font size: no fonts are measured.
const CHARACTER: f64 = 0.6;
/// The font size of all labels, as in `plot.css`.
const FONT: f64 = 12.5;

/// Text as it may stand in an element or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in XML at all.
            control if control.is_control() && !"\n\t".contains(control) => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

/// About how wide a label is.
pub fn width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER * FONT
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// The one to look at.
    Bold,
    /// One of several of its kind.
    Thin,
    /// What is compared with.
    Dashed,
    /// One of several of those.
    ThinDashed,
}

impl Stroke {
    fn class(self) -> &'static str {
        match self {
            Stroke::Bold => "bold",
            Stroke::Thin => "thin",
            Stroke::Dashed => "bold dashed",
            Stroke::ThinDashed => "thin dashed",
        }
    }
}

/// What a legend shows before a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As a line is drawn.
    Line(Stroke),
    /// As an area is filled.
    Area,
}

/// A drawing.
pub struct Svg {
    title: String,
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// An empty one; the title is what is read aloud.
    pub fn new(title: impl Into<String>, width: f64, height: f64) -> Self {
        Self {
            title: title.into(),
            width,
            height,
            body: String::new(),
        }
    }

    /// Makes it higher by this much.
    pub fn grow(&mut self, height: f64) {
        self.height += height;
    }

    /// A label; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let text = escape(text);
        self.element(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        ));
    }

    /// A straight line of the frame.
    pub fn rule(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.element(format_args!(
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="{class}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    /// A line through points, named when pointed at.
    pub fn line(&mut self, points: &[(f64, f64)], colour: Colour, stroke: Stroke, name: &str) {
        if points.len() > 1 {
            let (path, class, name) = (path(points), stroke.class(), escape(name));
            self.element(format_args!(
                r#"<path d="{path}" class="line {class}" style="stroke:var(--{colour})"><title>{name}</title></path>"#
            ));
        }
    }

    /// The area between a line and a base.
    pub fn area(&mut self, points: &[(f64, f64)], base: f64, colour: Colour, name: &str) {
        if let (Some(first), Some(last), true) = (points.first(), points.last(), points.len() > 1) {
            let (path, name) = (path(points), escape(name));
            self.element(format_args!(
                r#"<path d="{path}L{:.1} {base:.1}L{:.1} {base:.1}Z" class="area" style="fill:var(--{colour})"><title>{name}</title></path>"#,
                last.0, first.0
            ));
        }
    }

    /// A rectangle, named when pointed at.
    pub fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour, name: &str) {
        let name = escape(name);
        self.element(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" style="fill:var(--{colour})"><title>{name}</title></rect>"#
        ));
    }

    /// A point, named when pointed at.
    pub fn point(&mut self, at: (f64, f64), colour: Colour, name: &str) {
        let name = escape(name);
        self.element(format_args!(
            r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" class="point" style="fill:var(--{colour})"><title>{name}</title></circle>"#,
            at.0, at.1
        ));
    }

    /// Marks and names from left to right, wrapped at `right`; returns how many lines it took.
    pub fn legend(&mut self, left: f64, top: f64, right: f64, entries: &[(Colour, Mark, String)]) -> usize {
        let (mut x, mut lines) = (left, 1);
        for (colour, mark, name) in entries {
            let wide = 26.0 + width(name) + 18.0;
            if x > left && x + wide > right {
                (x, lines) = (left, lines + 1);
            }
            let y = top + (lines - 1) as f64 * 20.0;
            match mark {
                Mark::Line(stroke) => self.line(&[(x, y - 4.0), (x + 20.0, y - 4.0)], colour, *stroke, name),
                Mark::Area => self.bar(x + 4.0, y - 10.0, 12.0, 12.0, colour, name),
            }
            self.text(x + 26.0, y, "start", "", name);
            x += wide;
        }
        lines
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    /// As part of a page that has [`STYLE`].
    pub fn inline(&self) -> String {
        format!(
            "<svg viewBox=\"0 0 {:.0} {:.0}\" class=\"plot\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.width,
            self.height,
            escape(&self.title),
            self.body
        )
    }

    /// As a file.
    pub fn file(&self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.0} {h:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" \
             class=\"plot\" role=\"img\" aria-label=\"{title}\">\n<style>\n{STYLE}</style>\n\
             <rect width=\"{w:.0}\" height=\"{h:.0}\" rx=\"10\" style=\"fill:var(--card)\"/>\n{body}</svg>\n",
            w = self.width,
            h = self.height,
            title = escape(&self.title),
            body = self.body
        )
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::with_capacity(points.len() * 14);
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            escape("<b a=\"1\">&'\u{1}"),
            "&lt;b a=&quot;1&quot;&gt;&amp;&#39;\u{fffd}"
        );
        let mut svg = Svg::new("<t>", 10.0, 10.0);
        svg.line(&[(0.0, 0.0), (1.0, 1.0)], "orders", Stroke::Bold, "<script>");
        svg.text(0.0, 0.0, "start", "", "a & b");
        assert!(!svg.file().contains("<script>") && !svg.file().contains("<t>"));
        assert!(svg.inline().contains("a &amp; b"));
    }
}
