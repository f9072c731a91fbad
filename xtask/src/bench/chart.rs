//! Charts as SVG, and the same as PNG.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Curves over one axis.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) x_scale: Scale,
    pub(crate) y_scale: Scale,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Logarithmic,
}

/// The first of a chart is drawn on top of the others, and bold.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (900, 520);
const FONT: &str = "sans-serif";

/// Told apart by those who see red and green alike, too.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// `draw(chart, folder, name)` — into `name.svg`, which it returns, and `name.png`.
pub(crate) fn draw(chart: &Chart<'_>, folder: &Path, name: &str) -> Result<PathBuf> {
    // The machine's own fonts would make a chart look different everywhere.
    plotters::style::register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font is none"))?;
    let place = folder.join(name);
    let (svg, png) = (place.with_extension("svg"), place.with_extension("png"));
    draw_on(&SVGBackend::new(&svg, SIZE).into_drawing_area(), chart)?;
    draw_on(&BitMapBackend::new(&png, SIZE).into_drawing_area(), chart)?;
    eprintln!("{} is written, and {}", svg.display(), png.display());
    Ok(svg)
}

/// Left to the names of the curves.
const NAMES_WIDTH: u32 = 210;

fn draw_on<B: DrawingBackend>(area: &DrawingArea<B, Shift>, chart: &Chart<'_>) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let (plot, names) = area.split_horizontally(SIZE.0 - NAMES_WIDTH);
    let xs = Axis::over(chart.x_scale, chart.points().map(|(x, _)| x));
    let ys = Axis::over(chart.y_scale, chart.points().map(|(_, y)| y));
    let mut context = ChartBuilder::on(&plot)
        .caption(chart.title, (FONT, 20))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(xs, ys)?;
    context
        .configure_mesh()
        .x_desc(chart.x)
        .y_desc(chart.y)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()?;
    let styled = || chart.curves.iter().zip(COLOURS).enumerate();
    for (index, (curve, colour)) in styled().rev() {
        let width = if index == 0 { 3 } else { 2 };
        let style = ShapeStyle::from(colour).stroke_width(width);
        let points = curve.points.iter().copied();
        context.draw_series(LineSeries::new(points.clone(), style))?;
        if curve.points.len() <= FEW {
            context.draw_series(points.map(|point| Circle::new(point, 4, colour.filled())))?;
        }
    }
    // In the order in which the curves end, the highest first.
    let mut ends: Vec<_> = styled().collect();
    let end = |curve: &Curve| curve.points.last().map_or(f64::NEG_INFINITY, |(_, y)| *y);
    ends.sort_by(|(_, (one, _)), (_, (other, _))| end(other).total_cmp(&end(one)));
    for (line, (index, (curve, colour))) in (0..).zip(ends) {
        let y = 70 + 26 * line;
        let width = if index == 0 { 3 } else { 2 };
        let style = ShapeStyle::from(colour).stroke_width(width);
        names.draw(&PathElement::new([(0, y), (22, y)], style))?;
        let text = (FONT, 14).into_font().color(&BLACK);
        let text = text.pos(Pos::new(HPos::Left, VPos::Center));
        names.draw(&Text::new(curve.name.as_str(), (30, y), text))?;
    }
    area.present()?;
    Ok(())
}

/// So many points are drawn as such.
const FEW: usize = 12;

impl Chart<'_> {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.curves
            .iter()
            .flat_map(|curve| curve.points.iter().copied())
    }
}

/// From numbers to places, which are their logarithms where the scale is logarithmic.
#[derive(Debug)]
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    /// One that has room for all of these.
    fn over(scale: Scale, numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let axis = Self {
            scale,
            from: 0.0,
            to: 1.0,
        };
        let places = numbers.map(|number| axis.place(number));
        let from = places.clone().fold(f64::INFINITY, f64::min);
        let to = places.fold(f64::NEG_INFINITY, f64::max);
        if from >= to || !from.is_finite() || !to.is_finite() {
            return axis;
        }
        let margin = (to - from) * 0.04;
        Self {
            scale,
            from: from - margin,
            to: to + margin,
        }
    }

    fn place(&self, number: f64) -> f64 {
        match self.scale {
            Scale::Linear => number,
            Scale::Logarithmic => number.log10(),
        }
    }

    fn number(&self, place: f64) -> f64 {
        match self.scale {
            Scale::Linear => place,
            Scale::Logarithmic => 10f64.powf(place),
        }
    }

    /// Round numbers, not too many of them.
    fn ticks(&self) -> Vec<f64> {
        let places = self.round_places().into_iter();
        places.map(|place| self.number(place)).collect()
    }

    fn round_places(&self) -> Vec<f64> {
        let within = |place: &f64| (self.from..=self.to).contains(place);
        match self.scale {
            Scale::Logarithmic => {
                let within = |steps: &[f64]| -> Vec<f64> {
                    let decade = |decade| {
                        steps
                            .iter()
                            .map(move |step| f64::from(decade) + step.log10())
                    };
                    (-3..12).flat_map(decade).filter(within).collect()
                };
                let fine = within(&[1.0, 2.0, 5.0]);
                if fine.len() <= 12 {
                    fine
                } else {
                    within(&[1.0])
                }
            }
            Scale::Linear => {
                let raw = (self.to - self.from) / 8.0;
                let decade = 10f64.powf(raw.log10().floor());
                let factor = [1.0, 2.0, 5.0, 10.0]
                    .into_iter()
                    .find(|it| it * decade >= raw);
                let step = decade * factor.unwrap_or(10.0);
                let first = (self.from / step).ceil();
                (0..20)
                    .map(|nth| (first + f64::from(nth)) * step)
                    .filter(within)
                    .collect()
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[allow(clippy::cast_possible_truncation)] // To whole pixels.
    fn map(&self, number: &f64, limit: (i32, i32)) -> i32 {
        let part = (self.place(*number) - self.from) / (self.to - self.from);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.number(self.from)..self.number(self.to)
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(number: &f64) -> String {
        let text = match number.abs() {
            1e-9..1.0 => format!("{number:.2}"),
            _ => format!("{number:.0}"),
        };
        thousands(&text)
    }
}

/// 10,000 for 10000.
fn thousands(digits: &str) -> String {
    let mut text = String::new();
    let whole = digits.find('.').unwrap_or(digits.len());
    for (index, digit) in digits.char_indices() {
        if index > 0
            && index < whole
            && (whole - index).is_multiple_of(3)
            && &digits[..index] != "-"
        {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Axis, Scale, thousands};
    use plotters::coord::ranged1d::ValueFormatter as _;

    #[test]
    fn thousands_are_set_apart() {
        for (digits, text) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-100", "-100"),
            ("-1000", "-1,000"),
            ("1234567", "1,234,567"),
            ("1234.56", "1,234.56"),
        ] {
            assert_eq!(thousands(digits), text);
        }
    }

    #[test]
    fn ticks_are_round_and_neither_few_nor_many() {
        for (scale, from, to) in [
            (Scale::Linear, -50.0, 150.0),
            (Scale::Linear, 0.0, 0.7),
            (Scale::Logarithmic, 10.0, 19_000.0),
            (Scale::Logarithmic, 30.0, 250_000.0),
        ] {
            let axis = Axis::over(scale, [from, to].into_iter());
            let ticks = axis.ticks().len();
            assert!((4..=12).contains(&ticks), "{axis:?}: {ticks}");
        }
        let axis = Axis::over(Scale::Logarithmic, [10.0, 1000.0].into_iter());
        let labels: Vec<_> = axis.ticks().iter().map(Axis::format).collect();
        assert_eq!(labels, ["10", "20", "50", "100", "200", "500", "1,000"]);
    }
}
