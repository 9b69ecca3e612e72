package bench

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
)

// A panel is one drawing of a plot: curves over one pair of axes.
type panel struct {
	title  string
	x, y   axis
	curves []curve
}

// An axis maps values to 0 to 1.
type axis struct {
	label     string
	low, high float64
	log       bool
	ticks     []tick
}

type tick struct {
	at   float64
	text string
}

type curve struct {
	name   string
	points [][2]float64
}

// The measures of a plot, in its own units.
const (
	panelWidth, panelHeight = 300.0, 190.0
	marginLeft, marginTop   = 56.0, 28.0
	marginRight, marginFoot = 14.0, 36.0
	legendHeight            = 22.0
)

// colours tell curves apart, also for those who see no red and green.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}

// plotWorkload draws latency, throughput over time and memory over time; nil when there is nothing to draw.
func plotWorkload(config Config, all []*row) []byte {
	latency := panel{title: "latency, ms", x: axis{label: "percentile"}, y: axis{log: true}}
	speed := panel{title: "MB/s", x: axis{label: "seconds"}}
	memory := panel{title: "largest node, MB", x: axis{label: "seconds"}}
	for _, r := range all {
		if r.workload != config.ID || len(r.results) == 0 {
			continue
		}
		if points := latencyCurve(r.distribution()); len(points) > 1 {
			latency.curves = append(latency.curves, curve{label(r), points})
		}
		last := r.results[len(r.results)-1].Timeline
		if points := speedCurve(last); len(points) > 1 {
			speed.curves = append(speed.curves, curve{label(r), points})
		}
		if points := memoryCurve(last); len(points) > 1 {
			memory.curves = append(memory.curves, curve{label(r), points})
		}
	}
	var panels []panel
	for _, p := range []panel{latency, speed, memory} {
		if len(p.curves) > 0 {
			p.fit()
			panels = append(panels, p)
		}
	}
	if len(panels) == 0 {
		return nil
	}
	return draw(panels)
}

// latencyCurve spreads the tail out: each nine takes as much room as the one before.
func latencyCurve(points []Quantile) [][2]float64 {
	var curve [][2]float64
	for _, point := range points {
		if point.Q < 1 && point.Ms > 0 {
			curve = append(curve, [2]float64{-math.Log10(1 - point.Q), point.Ms})
		}
	}
	return curve
}

// speedCurve is what was done between the moments, over at least half a second each.
func speedCurve(moments []Moment) [][2]float64 {
	var curve [][2]float64
	before := 0
	for i, moment := range moments {
		if passed := moment.Seconds - moments[before].Seconds; passed >= 0.5 {
			curve = append(curve, [2]float64{moment.Seconds, float64(moment.Bytes-moments[before].Bytes) / megabyte / passed})
			before = i
		}
	}
	return curve
}

func memoryCurve(moments []Moment) [][2]float64 {
	var curve [][2]float64
	for _, moment := range moments {
		if moment.MemoryMB > 0 {
			curve = append(curve, [2]float64{moment.Seconds, moment.MemoryMB})
		}
	}
	return curve
}

// fit chooses the ends and ticks of both axes.
func (p *panel) fit() {
	lowX, highX, lowY, highY := math.Inf(1), 0.0, math.Inf(1), 0.0
	for _, c := range p.curves {
		for _, point := range c.points {
			lowX, highX = min(lowX, point[0]), max(highX, point[0])
			lowY, highY = min(lowY, point[1]), max(highY, point[1])
		}
	}
	if p.y.log {
		p.x.low, p.x.high = 0, highX
		for _, text := range []string{"0", "90", "99", "99.9", "99.99"} {
			share, _ := strconv.ParseFloat(text, 64) // They are numbers.
			if at := -math.Log10(1 - share/100); at <= highX+1e-9 {
				p.x.ticks = append(p.x.ticks, tick{at, text})
			}
		}
		p.y.low, p.y.high = math.Pow(10, math.Floor(math.Log10(lowY))), math.Pow(10, math.Ceil(math.Log10(highY)))
		for at := p.y.low; at <= p.y.high*1.001; at *= 10 {
			p.y.ticks = append(p.y.ticks, tick{at, number(at)})
		}
		return
	}
	p.x.linear(highX)
	p.y.linear(highY)
}

// linear makes an axis from zero with about four ticks at round values.
func (a *axis) linear(high float64) {
	step := math.Pow(10, math.Floor(math.Log10(max(high, 1e-9))))
	for _, factor := range []float64{0.2, 0.25, 0.5, 1, 2, 2.5, 5} {
		if high/(step*factor) <= 5 {
			step *= factor
			break
		}
	}
	a.high = step * math.Ceil(high/step)
	for at := 0.0; at <= a.high*1.001; at += step {
		a.ticks = append(a.ticks, tick{at, number(at)})
	}
}

// place maps a value to 0 to 1.
func (a *axis) place(value float64) float64 {
	low, high := a.low, a.high
	if a.log {
		value, low, high = math.Log10(value), math.Log10(low), math.Log10(high)
	}
	if high <= low {
		return 0
	}
	return (value - low) / (high - low)
}

// draw renders panels beside each other over one legend.
func draw(panels []panel) []byte {
	var names []string
	for _, p := range panels {
		for _, c := range p.curves {
			if !slices.Contains(names, c.name) {
				names = append(names, c.name)
			}
		}
	}
	full := marginLeft + panelWidth + marginRight
	width := full * float64(len(panels))
	height := marginTop + panelHeight + marginFoot + legendHeight
	var svg bytes.Buffer
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&svg, `<rect width="%.0f" height="%.0f" fill="#fff"/>`+"\n", width, height)
	for i, p := range panels {
		drawPanel(&svg, p, full*float64(i)+marginLeft, names)
	}
	x := marginLeft
	for i, name := range names {
		y := height - legendHeight/2
		fmt.Fprintf(&svg, `<rect x="%.0f" y="%.0f" width="12" height="3" fill="%s"/>`, x, y-4, colours[i%len(colours)])
		fmt.Fprintf(&svg, `<text x="%.0f" y="%.0f">%s</text>`+"\n", x+16, y, html.EscapeString(name))
		x += 30 + 6.5*float64(len(name))
	}
	svg.WriteString("</svg>\n")
	return svg.Bytes()
}

func drawPanel(svg *bytes.Buffer, p panel, left float64, names []string) {
	bottom := marginTop + panelHeight
	fmt.Fprintf(svg, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", left, marginTop-10, html.EscapeString(p.title))
	for _, t := range p.y.ticks {
		y := bottom - panelHeight*p.y.place(t.at)
		fmt.Fprintf(svg, `<path d="M%.1f %.1fh%.0f" stroke="#ddd"/>`, left, y, panelWidth)
		fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n", left-5, y+4, t.text)
	}
	for _, t := range p.x.ticks {
		x := left + panelWidth*p.x.place(t.at)
		fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x, bottom+14, t.text)
	}
	fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#555">%s</text>`+"\n", left+panelWidth/2, bottom+28, p.x.label)
	for _, c := range p.curves {
		fmt.Fprintf(svg, `<path fill="none" stroke="%s" stroke-width="1.5" d="`, colours[slices.Index(names, c.name)%len(colours)])
		for i, point := range c.points {
			command := "L"
			if i == 0 {
				command = "M"
			}
			fmt.Fprintf(svg, "%s%.1f %.1f", command, left+panelWidth*p.x.place(point[0]), bottom-panelHeight*p.y.place(point[1]))
		}
		svg.WriteString(`"/>` + "\n")
	}
}
