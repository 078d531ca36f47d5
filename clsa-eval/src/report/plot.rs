//! Figures as SVG: curves, a comparison of percentages, a heat map and a map of points.
//!
//! A figure is drawn at a fixed width and scaled to its column by the page; the text is large enough for a telephone.

use super::palette::{DISTINCT, GRID, INK, ON_FILL, series};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Height of letters; plotters draws them 1.24 times smaller.
const TEXT: i32 = 34;
const FONT: &str = "system-ui, sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A curve.
pub(super) struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Number of its colour.
    pub color: usize,
    /// Whether each point is marked.
    pub marked: bool,
}

/// Curves over the step.
pub(super) struct Curves {
    pub y_label: &'static str,
    pub series: Vec<Series>,
    /// Begins the vertical axis at 0.
    pub from_zero: bool,
    /// A level to compare with, in the colour of text.
    pub level: Option<f64>,
}

impl Curves {
    /// The picture; `None` where there is nothing to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        let ((x0, x1), (mut y0, mut y1)) = (range(|p| p.0), range(|p| p.1));
        if !(x0.is_finite() && x1.is_finite() && y0.is_finite() && y1.is_finite()) {
            return None;
        }
        if let Some(level) = self.level {
            (y0, y1) = (y0.min(level), y1.max(level));
        }
        let room = if y1 > y0 { 0.06 * (y1 - y0) } else { 0.1 * y1.abs().max(1e-3) };
        y0 = if self.from_zero { 0.0 } else { y0 - room };
        let (x1, y1) = (if x1 > x0 { x1 } else { x0 + 1.0 }, y1 + room);
        Some(drawing((WIDTH, HEIGHT), |area| {
            let text = text(INK);
            let mut chart = ChartBuilder::on(area)
                .margin_top(16)
                .margin_left(8)
                .margin_right(36)
                .x_label_area_size(84)
                .y_label_area_size(132)
                .build_cartesian_2d(x0..x1, y0..y1)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(ShapeStyle { color: GRID.to_rgba(), filled: false, stroke_width: 2 })
                .axis_style(ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 2 })
                .label_style(text.clone())
                .axis_desc_style(text)
                .x_labels(5)
                .y_labels(5)
                .x_label_formatter(&|x| number(*x))
                .y_label_formatter(&|y| number(*y))
                .x_desc("step")
                .y_desc(self.y_label)
                .draw()?;
            if let Some(level) = self.level {
                let style = ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 2 };
                chart.draw_series(DashedLineSeries::new([(x0, level), (x1, level)], 10, 8, style))?;
            }
            for Series { points, color, marked, .. } in &self.series {
                let style = ShapeStyle { color: series(*color).to_rgba(), filled: true, stroke_width: 4 };
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                if *marked || points.len() == 1 {
                    chart.draw_series(points.iter().map(|&point| Circle::new(point, 8, style)))?;
                }
            }
            Ok(())
        }))
    }
}

/// How a mark of [`comparison`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A filled circle over its interval.
    Disc,
    /// A circle.
    Ring,
    /// A square on its corner.
    Diamond,
    /// An upright line.
    Bar,
}

/// A figure on the line of a row, percent.
pub(super) struct Mark {
    pub shape: Shape,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// A row of [`comparison`].
pub(super) enum Row {
    /// The rows below it belong together.
    Heading(String),
    /// A line with marks under its name.
    Marks { name: String, color: usize, marks: Vec<Mark> },
}

/// Percentages, one line below the other on a common scale from 0 to the next ten above the largest.
pub(super) fn comparison(rows: &[Row]) -> String {
    /// Letters of a line of text, and its height.
    const LETTERS: usize = 54;
    const LINE: i32 = 44;
    const TRACK: i32 = 46;
    const LEFT: i32 = 22;
    let marks = || rows.iter().filter_map(|row| if let Row::Marks { marks, .. } = row { Some(marks) } else { None });
    let most = marks().flatten().map(|mark| mark.high.max(mark.value)).fold(0.0, f64::max);
    let end = ((most / 10.0).ceil() * 10.0).clamp(10.0, 100.0);
    let step = if end > 60.0 {
        20
    } else if end > 20.0 {
        10
    } else {
        5
    };
    let x = |percent: f64| LEFT + ((WIDTH as i32 - LEFT - 70) as f64 * percent.clamp(0.0, end) / end) as i32;
    let height = |row: &Row| match row {
        Row::Heading(name) => 14 + LINE * lines(name, LETTERS).len() as i32,
        Row::Marks { name, .. } => TRACK + LINE * lines(name, LETTERS).len() as i32,
    };
    let bottom = 6 + rows.iter().map(height).sum::<i32>();
    drawing((WIDTH, bottom as u32 + 52), |area| {
        let mut y = 6;
        let write = |name: &str, mut y: i32, bold: bool| -> Drawn {
            for line in lines(name, LETTERS) {
                let font = (FONT, TEXT).into_font();
                let font = if bold { font.style(FontStyle::Bold) } else { font };
                let style = font.color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
                area.draw(&Text::new(line, (LEFT - 10, y), style))?;
                y += LINE;
            }
            Ok(())
        };
        for row in rows {
            match row {
                Row::Heading(name) => write(name, y + 12, true)?,
                Row::Marks { name, color, marks } => {
                    write(name, y, false)?;
                    let line = y + height(row) - TRACK + 16;
                    area.draw(&PathElement::new([(x(0.0), line), (x(end), line)], GRID.stroke_width(3)))?;
                    for tick in (0..=end as i32).step_by(step) {
                        let at = x(f64::from(tick));
                        area.draw(&PathElement::new([(at, line - 10), (at, line + 10)], GRID.stroke_width(3)))?;
                    }
                    // The trained encoder's, which come first, are drawn over the others.
                    for mark in marks.iter().rev() {
                        draw_mark(area, mark, &x, line, series(*color))?;
                    }
                }
            }
            y += height(row);
        }
        for tick in (0..=end as i32).step_by(step) {
            let last = tick as usize + step > end as usize;
            let label = if last { format!("{tick} %") } else { tick.to_string() };
            area.draw(&Text::new(label, (x(f64::from(tick)), bottom), anchored(INK, HPos::Center, VPos::Top)))?;
        }
        Ok(())
    })
}

fn draw_mark(area: &Area, mark: &Mark, x: &impl Fn(f64) -> i32, y: i32, color: RGBColor) -> Drawn {
    let at = x(mark.value);
    let outline = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: 4 };
    match mark.shape {
        Shape::Disc => {
            area.draw(&PathElement::new([(x(mark.low), y), (x(mark.high), y)], color.stroke_width(6)))?;
            for end in [mark.low, mark.high] {
                area.draw(&PathElement::new([(x(end), y - 11), (x(end), y + 11)], color.stroke_width(4)))?;
            }
            area.draw(&Circle::new((at, y), 10, color.filled()))
        }
        Shape::Ring => area.draw(&Circle::new((at, y), 9, outline)),
        Shape::Diamond => {
            let corners = [(at, y - 12), (at + 12, y), (at, y + 12), (at - 12, y), (at, y - 12)];
            area.draw(&PathElement::new(corners, outline))
        }
        Shape::Bar => area.draw(&PathElement::new([(at, y - 16), (at, y + 16)], INK.stroke_width(5))),
    }
}

/// A text in lines of up to `letters` letters, broken at spaces where there are some.
fn lines(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let last = lines.len() - 1;
        let used = lines[last].chars().count();
        if used > 0 && used + word.iter().rposition(|c| *c != ' ').map_or(0, |at| at + 1) > letters {
            lines.push(String::new());
        }
        while !word.is_empty() {
            let last = lines.len() - 1;
            let room = letters - lines[last].chars().count().min(letters);
            if room == 0 {
                lines.push(String::new());
                continue;
            }
            lines[last].extend(word.drain(..room.min(word.len())));
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Classes up to which a cell of [`heat_map`] shows its count.
const COUNTED: usize = 12;
/// Classes up to which rows and columns of [`heat_map`] are named.
const NAMED: usize = 40;

/// Counts by true class (row) and predicted class (column), each cell as dark as its share of the row.
pub(super) fn heat_map(counts: &[Vec<u32>], classes: &[String]) -> String {
    const LETTERS: usize = 24;
    let n = counts.len().max(1);
    let longest = classes.iter().map(|name| width_in_letters(name)).max().unwrap_or(0).min(LETTERS);
    let wide = (0.5 * letter_height(n, 220) * longest as f64) as i32 + 24;
    let margin = if n <= NAMED { wide.clamp(60, 390) } else { 60 };
    let cell = f64::from(WIDTH as i32 - margin - 10) / n as f64;
    let at = |index: usize| (index as f64 * cell) as i32;
    let letters = letter_height(n, margin);
    drawing((WIDTH, WIDTH), |area| {
        for (row, counts) in counts.iter().enumerate() {
            let total = counts.iter().sum::<u32>().max(1);
            let y = 10 + at(row);
            for (column, &count) in counts.iter().enumerate() {
                let share = f64::from(count) / f64::from(total);
                let x = margin + at(column);
                let corners = [(x, y), (margin + at(column + 1), 10 + at(row + 1))];
                if count > 0 {
                    area.draw(&Rectangle::new(corners, series(0).mix(share.max(0.06)).filled()))?;
                }
                if n <= COUNTED {
                    let middle = (x + (cell / 2.0) as i32, y + (cell / 2.0) as i32);
                    let style =
                        sized(if share > 0.5 { ON_FILL } else { INK }, HPos::Center, VPos::Center, letters * 0.85);
                    area.draw(&Text::new(count.to_string(), middle, style))?;
                }
            }
        }
        let frame = [(margin, 10), (margin + at(n), 10 + at(n))];
        area.draw(&Rectangle::new(frame, ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 2 }))?;
        if n <= NAMED {
            for class in 0..n {
                let name = shortened(classes.get(class).map_or("", String::as_str), LETTERS);
                let middle = at(class) + (cell / 2.0) as i32;
                let style = sized(INK, HPos::Right, VPos::Center, letters);
                area.draw(&Text::new(name.clone(), (margin - 10, 10 + middle), style.clone()))?;
                let turned = style.transform(FontTransform::Rotate270);
                area.draw(&Text::new(name, (margin + middle, 20 + at(n)), turned))?;
            }
        }
        Ok(())
    })
}

/// Height of letters beside the cells of `n` classes.
fn letter_height(n: usize, margin: i32) -> f64 {
    f64::from(TEXT).min(1.15 * f64::from(WIDTH as i32 - margin - 10) / n as f64)
}

/// Points coloured by class, with the class's name near its median where the classes are few; in one colour without
/// labels. `axes` names the horizontal and the vertical one.
pub(super) fn map(
    points: &[[f64; 2]],
    labels: Option<&[u32]>,
    classes: &[String],
    axes: Option<[String; 2]>,
) -> String {
    let class_of = |index: usize| labels.map_or(0, |labels| labels[index] as usize);
    let classes = if labels.is_some() && classes.len() <= DISTINCT { classes } else { &[] };
    let extent = |axis: usize| {
        let of = points.iter().map(|point| point[axis]);
        of.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let side = WIDTH as i32;
    let margin = if axes.is_some() { 56 } else { 2 };
    let scale = |value: f64, (low, high): (f64, f64)| {
        22 + (f64::from(side - margin - 46) * (value - low) / (high - low).max(1e-12)) as i32
    };
    let (horizontal, vertical) = (extent(0), extent(1));
    let place = |point: &[f64; 2]| (margin + scale(point[0], horizontal), side - margin - scale(point[1], vertical));
    let radius = if points.len() > 2000 { 5 } else { 7 };
    drawing((WIDTH, WIDTH), |area| {
        let frame = ShapeStyle { color: GRID.to_rgba(), filled: false, stroke_width: 2 };
        area.draw(&Rectangle::new([(margin, 2), (side - 2, side - margin)], frame))?;
        if let Some([across, up]) = &axes {
            let style = anchored(INK, HPos::Center, VPos::Top);
            area.draw(&Text::new(across.clone(), ((side + margin) / 2, side - margin + 10), style))?;
            let style = anchored(INK, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
            area.draw(&Text::new(up.clone(), (8, (side - margin) / 2), style))?;
        }
        for (index, point) in points.iter().enumerate() {
            area.draw(&Circle::new(place(point), radius, series(class_of(index)).mix(0.7).filled()))?;
        }
        let mut names: Vec<(usize, (i32, i32))> = Vec::new();
        for class in 0..classes.len() {
            let of = |axis: usize| {
                let own = points.iter().enumerate().filter(|(index, _)| class_of(*index) == class);
                let mut own: Vec<f64> = own.map(|(_, point)| point[axis]).collect();
                own.sort_unstable_by(f64::total_cmp);
                own.get(own.len() / 2).copied()
            };
            if let (Some(x), Some(y)) = (of(0), of(1)) {
                names.push((class, place(&[x, y])));
            }
        }
        set_apart(&mut names, |class| letters_width(width_in_letters(&classes[class]).min(NAME)), side - margin);
        for (class, at) in names {
            let style = anchored(series(class), HPos::Center, VPos::Center);
            area.draw(&Text::new(shortened(&classes[class], NAME), at, style))?;
        }
        Ok(())
    })
}

/// Letters of a class's name in [`map`]; the legend has all of it.
const NAME: usize = 18;

/// About the width of letters of the usual height.
fn letters_width(letters: usize) -> i32 {
    letters as i32 * 17
}

/// Moves names up and down until none is written over another, between the edges of a figure of height `end`.
fn set_apart(names: &mut [(usize, (i32, i32))], width: impl Fn(usize) -> i32, end: i32) {
    const HEIGHT: i32 = 34;
    names.sort_by_key(|(class, (_, y))| (*y, *class));
    let free = |placed: &[(usize, (i32, i32))], class: usize, (x, y): (i32, i32)| {
        (HEIGHT / 2..=end - HEIGHT / 2).contains(&y)
            && placed
                .iter()
                .all(|(other, (ox, oy))| (oy - y).abs() >= HEIGHT || 2 * (ox - x).abs() >= width(class) + width(*other))
    };
    for index in 0..names.len() {
        let (placed, rest) = names.split_at_mut(index);
        let (class, at) = &mut rest[0];
        // A name keeps within the figure, and takes the free place nearest to its own.
        let edge = (width(*class) / 2).min(WIDTH as i32 / 2);
        at.0 = at.0.clamp(edge, WIDTH as i32 - edge);
        let tried = (0..end).flat_map(|step| [at.1 + step, at.1 - step]);
        let nearest = tried.into_iter().find(|&y| free(placed, *class, (at.0, y)));
        at.1 = nearest.unwrap_or(at.1);
    }
}

/// Draws into a string. Nothing that is drawn can fail: the string takes all.
fn drawing(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("a figure is drawn in memory");
    }
    // What SVG does anyway, of which a map of many points is mostly made.
    svg.replace(" stroke=\"none\" stroke-width=\"1\"", "")
}

fn text(color: RGBColor) -> TextStyle<'static> {
    (FONT, TEXT).into_font().color(&color)
}

fn anchored(color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    text(color).pos(Pos::new(h, v))
}

fn sized(color: RGBColor, h: HPos, v: VPos, size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color).pos(Pos::new(h, v))
}

fn shortened(name: &str, letters: usize) -> String {
    if width_in_letters(name) <= letters {
        return name.to_owned();
    }
    let mut width = 1;
    let fits = |letter: &char| {
        width += letter_width(*letter);
        width <= letters
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// About how many usual letters a name is wide.
fn width_in_letters(name: &str) -> usize {
    name.chars().map(letter_width).sum()
}

/// Wide letters of the Latin alphabet, and those of the East Asian scripts, count twice.
fn letter_width(letter: char) -> usize {
    if matches!(letter, 'M' | 'W' | 'm' | 'w' | '@' | '%' | '—' | '\u{1100}'..) { 2 } else { 1 }
}

/// A tick in few letters: 0.06, 12, 40k, 1.5M.
fn number(x: f64) -> String {
    let short = |x: f64| {
        let text = format!("{x:.4}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match x.abs() {
        a if a >= 1e6 => format!("{}M", short((x / 1e4).round() / 100.0)),
        a if a >= 1e4 => format!("{}k", short((x / 100.0).round() / 10.0)),
        _ => short(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_one_place_are_set_apart() {
        let mut names: Vec<(usize, (i32, i32))> = (0..12).map(|class| (class, (450, 450))).collect();
        set_apart(&mut names, |_| 200, 900);
        let mut rows: Vec<i32> = names.iter().map(|(_, (_, y))| *y).collect();
        rows.sort_unstable();
        assert!(rows.windows(2).all(|pair| pair[1] - pair[0] >= 34), "{rows:?}");
        assert!(rows.iter().all(|y| (17..=883).contains(y)));
    }

    #[test]
    fn long_names_are_broken_into_lines_and_never_cut() {
        assert_eq!(lines("clsa-0", 10), ["clsa-0"]);
        assert_eq!(lines("", 10), [""]);
        assert_eq!(lines("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(lines("abcdefghijklmnopqrstuvwxyz", 10), ["abcdefghij", "klmnopqrst", "uvwxyz"]);
        let name = "a-rather-long-name-".repeat(8);
        let drawn = comparison(&[Row::Marks {
            name: name.clone(),
            color: 0,
            marks: vec![Mark { shape: Shape::Disc, value: 55.0, low: 50.0, high: 61.0 }],
        }]);
        for line in lines(&name, 54) {
            assert!(drawn.contains(&line), "{line}");
        }
        assert!(drawn.contains("60 %") && !drawn.contains("80 %"), "the axis ends at the next ten above 61");
    }
}
