package spec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTraces replays the traces in testdata, which are described there.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/traces/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		lines := traceLines(string(text))
		var o traceOptions
		require.NoError(t, o.parse(lines), file)
		Bubble(t, strings.TrimSuffix(filepath.Base(file), ".txt"), o.Options, func(b *Harness) {
			tr := &trace{b: b, o: o, calls: map[string]*Call{}}
			for _, l := range lines {
				tr.play(l)
			}
			tr.finish()
		})
	}
}

// A traceLine is one event of a trace, or an option.
type traceLine struct {
	number int
	kind   string // "C>", "S>", …, or "options:" and the like
	at     time.Duration
	text   string
}

func (l traceLine) String() string { return fmt.Sprintf("line %d: %s %s", l.number, l.kind, l.text) }

var traceTime = regexp.MustCompile(`^\[([0-9.]+)\]\s*`)

// traceLines splits a trace. A line that begins with white space goes on with
// the one before.
func traceLines(text string) (lines []traceLine) {
	for i, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			last := &lines[len(lines)-1]
			if !strings.HasSuffix(last.text, ">") {
				last.text += " "
			}
			last.text += strings.TrimSpace(line)
		default:
			kind, rest, _ := strings.Cut(line, " ")
			l := traceLine{number: i + 1, kind: kind, text: strings.TrimSpace(rest)}
			if m := traceTime.FindStringSubmatch(l.text); m != nil {
				seconds, _ := strconv.ParseFloat(m[1], 64)
				l.at = time.Duration(seconds*1e6+0.5) * time.Microsecond
				l.text = l.text[len(m[0]):]
			}
			lines = append(lines, l)
		}
	}
	return lines
}

// traceOptions are what the line "options:" sets.
type traceOptions struct {
	bosh.Options
	features time.Duration // how long the XMPP server takes for its features; negative: it sends none
	success  bool          // it sends the end of authentication with them, so that the client may restart the stream
}

func (o *traceOptions) parse(lines []traceLine) error {
	o.Options = With(func(o *bosh.Options) { o.Framing = bosh.XMPP })
	for _, l := range lines {
		if l.kind != "options:" {
			continue
		}
		for _, f := range strings.Fields(l.text) {
			if err := o.set(f); err != nil {
				return fmt.Errorf("%v: %w", l, err)
			}
		}
	}
	return nil
}

func (o *traceOptions) set(field string) (err error) {
	name, value, _ := strings.Cut(field, "=")
	duration := func(d *time.Duration) {
		if *d = -1; value != "off" {
			*d, err = time.ParseDuration(value)
		}
	}
	number := func(n *int) { *n, err = strconv.Atoi(value) }
	switch name {
	case "wait":
		duration(&o.Wait)
	case "inactivity":
		duration(&o.Inactivity)
	case "polling":
		duration(&o.Polling)
	case "pause":
		duration(&o.Pause)
	case "grace":
		duration(&o.Grace)
	case "create":
		duration(&o.CreateTimeout)
	case "report":
		duration(&o.ReportAfter)
	case "features":
		duration(&o.features)
	case "success":
		o.success = value == "on"
	case "hold":
		number(&o.Hold)
	case "streams":
		number(&o.MaxStreams)
	case "repeats":
		number(&o.MaxRepeats)
	case "acks":
		o.NoAcks = value != "on"
	case "framing":
		o.Framing = map[string]bosh.Framing{"xmpp": bosh.XMPP, "elements": bosh.Elements}[value]
	case "defaults":
		o.Options = bosh.Options{}
	default:
		err = errors.New("no such option: " + name)
	}
	return err
}

// A trace is one that is being played.
type trace struct {
	b      *Harness
	o      traceOptions
	start  time.Duration    // of the trace's clock
	calls  map[string]*Call // by label
	labels []string
	seen   []string // labels of the calls whose answer the trace has shown
	order  int64    // of the last answer shown
	sids   []string // s1, s2, …
	names  []string // of streams: st1, st2, …
	open   []string // labels of the calls that the trace leaves open
}

// until lets the clock go on to a time of the trace.
func (tr *trace) until(at time.Duration) {
	d := tr.start + at - tr.b.Now()
	require.GreaterOrEqual(tr.b, d, time.Duration(0), "the trace goes back in time")
	tr.b.Wait(d)
}

func (tr *trace) play(l traceLine) {
	b := tr.b
	stream := 0
	if len(l.kind) == 3 && l.kind[0] == 'A' { // A2> is the second stream
		stream = int(l.kind[1] - '1')
		l.kind = "A" + l.kind[2:]
	}
	switch l.kind {
	case "options:":
	case "session:":
		tr.session(l.text)
	case "open:":
		tr.open = strings.Fields(l.text)
	case "H>":
		name, value, _ := strings.Cut(l.text, ":")
		b.Headers.Set(name, strings.TrimSpace(value))
	case "C>":
		tr.until(l.at)
		tr.send(l.text)
	case "X>":
		tr.until(l.at)
		require.Contains(b, tr.calls, l.text, l)
		tr.calls[l.text].Breaks()
	case "S>":
		tr.until(l.at)
		tr.expect(l)
	case "A>":
		tr.until(l.at)
		tr.act(b.App(stream), l.text)
	case "A<":
		tr.until(l.at)
		assert.Equal(b, l.text, tr.read(b.App(stream)), "%v", l)
	case "U<":
		tr.until(l.at)
		assert.Equal(b, l.text, strings.Join(b.App(stream).Lost(), ""), "%v", l)
	default:
		b.Fatalf("%v: no such event", l)
	}
}

// session begins a trace in an established session, whose last rid it is
// given.
func (tr *trace) session(rid string) {
	tr.send("<body rid='" + rid + "' to='example.com' hold='1' wait='60' ver='1.11' xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>")
	tr.b.Wait(max(tr.o.features, 0))
	tr.b.Wait(max(tr.o.Grace, 0))
	c := tr.calls[rid]
	tr.rename(c.Body())
	tr.seen = append(tr.seen, rid)
	tr.order = c.Answer().Order
	tr.b.App(0).Text()
	tr.start = tr.b.Now()
}

var ridAttr = regexp.MustCompile(` rid=['"]([^'"]*)`)

// send sends a request and labels it: by its rid, and #2, #3 … if it is not the
// first of that.
func (tr *trace) send(text string) {
	label := "-"
	if m := ridAttr.FindStringSubmatch(text); m != nil {
		label = m[1]
	}
	for n := 2; tr.calls[label] != nil; n++ {
		label, _, _ = strings.Cut(label, "#")
		label += "#" + strconv.Itoa(n)
	}
	for i, sid := range tr.sids {
		text = strings.NewReplacer(
			fmt.Sprintf(" sid='s%d'", i+1), " sid='"+sid+"'",
			fmt.Sprintf(` sid="s%d"`, i+1), ` sid="`+sid+`"`).Replace(text)
	}
	for i, name := range tr.names {
		text = strings.ReplaceAll(text, fmt.Sprintf(" stream='st%d'", i+1), " stream='"+name+"'")
	}
	before := len(tr.b.Streams())
	tr.calls[label] = tr.b.Post(Complete(text))
	tr.labels = append(tr.labels, label)
	for _, a := range tr.b.Streams()[before:] {
		go tr.serve(a)
	}
	tr.b.Wait(0)
}

// serve has the application answer each stream header by its own and by
// features, if it is to do so.
func (tr *trace) serve(a *App) {
	if tr.o.Framing != bosh.XMPP || tr.o.features < 0 {
		return
	}
	for n := 1; ; n++ {
		select {
		case <-a.Headers:
		case <-a.Context().Done():
			return
		}
		select {
		case <-time.After(tr.o.features): // of the bubble's time
		case <-a.Context().Done():
			return
		}
		end := ""
		if tr.o.success {
			end = Success
		}
		fmt.Fprintf(a, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"+
			" id='i%d' from='%s' version='1.0'><stream:features><f xmlns='urn:f'>%d</f></stream:features>%s", n, a.Opening().To, n, end)
	}
}

// rename replaces what is random in an answer.
func (tr *trace) rename(body *boshtest.Body) string {
	text := string(body.Raw)
	for attr, known := range map[string]*[]string{"sid": &tr.sids, "stream": &tr.names} {
		value := body.Attr(attr)
		if value == "" {
			continue
		}
		i := slices.Index(*known, value)
		if i < 0 {
			i = len(*known)
			*known = append(*known, value)
		}
		short := map[string]string{"sid": "s", "stream": "st"}[attr] + strconv.Itoa(i+1)
		text = strings.Replace(text, " "+attr+"='"+value+"'", " "+attr+"='"+short+"'", 1)
	}
	return text
}

// expect compares an answer.
func (tr *trace) expect(l traceLine) {
	b := tr.b
	label, want, _ := strings.Cut(l.text, ": ")
	c := tr.calls[label]
	require.NotNil(b, c, "%v: no such request", l)
	r := c.Reply.Load()
	if !assert.NotNil(b, r, "%v: no answer", l) {
		return
	}
	assert.NotContains(b, tr.seen, label, "%v: answered before", l)
	tr.seen = append(tr.seen, label)
	assert.Equal(b, l.at, r.At-tr.start, "%v: time of the answer %s", l, r.Body)
	assert.Greater(b, r.Order, tr.order, "%v: order of the answers", l)
	tr.order = r.Order
	if status, ok := strings.CutPrefix(want, "HTTP "); ok {
		assert.Equal(b, status, strconv.Itoa(r.Status), "%v", l)
		return
	}
	assert.Equal(b, 200, r.Status, "%v", l)
	body, err := boshtest.ParseBody(r.Body)
	require.NoError(b, err, "%v: %s", l, r.Body)
	got := tr.rename(body)
	if !strings.Contains(want, " ...") {
		assert.Equal(b, Canonical(b, want), Canonical(b, got), "%v", l)
		return
	}
	w, err := boshtest.ParseBody([]byte(Complete(strings.Replace(want, " ...", "", 1))))
	require.NoError(b, err, "%v", l)
	g, err := boshtest.ParseBody([]byte(got))
	require.NoError(b, err, "%v", l)
	for _, a := range w.Attrs {
		assert.Equal(b, a.Value, g.Attr(a.Name), "%v: attribute %s", l, a.Name)
	}
	assert.Equal(b, texts(w.Payloads), texts(g.Payloads), "%v", l)
}

// act has the application do something.
func (tr *trace) act(a *App, what string) {
	switch verb, rest, _ := strings.Cut(what, " "); verb {
	case "close":
		var e *bosh.Error
		if rest != "" {
			e = &bosh.Error{Condition: bosh.Condition(rest)}
		}
		require.NoError(tr.b, a.CloseWithError(e))
	case "shutdown":
		ctx, cancel := context.WithCancel(tr.b.Context())
		tr.b.Cleanup(cancel)
		go tr.b.H.Shutdown(ctx)
	default:
		_, err := io.WriteString(a, what)
		require.NoError(tr.b, err)
	}
	tr.b.Wait(0)
}

// read returns what the application has read, in short.
func (tr *trace) read(a *App) string {
	text := strings.ReplaceAll(a.Text(),
		"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'", "<stream:stream")
	switch err := a.Ended(); {
	case err == io.EOF:
		text += " EOF"
	case err != nil:
		text += " error"
	}
	return strings.TrimSpace(text)
}

// finish checks that the trace has shown all.
func (tr *trace) finish() {
	tr.b.Wait(0)
	var open []string
	for _, label := range tr.labels {
		c := tr.calls[label]
		switch r := c.Reply.Load(); {
		case slices.Contains(tr.seen, label):
		case r != nil:
			tr.b.Errorf("not in the trace: [%v] answer to %s: %s", r.At-tr.start, label, r.Body)
		case !c.Cut.Load():
			open = append(open, label)
		}
	}
	assert.Equal(tr.b, tr.open, open, "requests left open")
}
