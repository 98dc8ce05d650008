package monitor

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	style string

	page = template.Must(template.New("page").Funcs(template.FuncMap{"size": size, "span": span}).Parse(pageText))

	// policy lets the page have its style and its forms, and nothing else.
	policy = "default-src 'none'; style-src 'sha256-" + digest(style) + "'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A view is the data of the page.
type view struct {
	Listing
	Style   template.CSS
	Ends    []reason
	Turned  []reason // sessions refused
	Query   query
	Ended   string // the session that was just ended
	Refresh int    // seconds; 0 for never
	Here    string // the query of this page, but for refresh
	Orders  []ordering
	Heads   []heading
	Links   []link // to other pages
	From    int    // the number of the first session on this page
	To      int
}

// A reason is one why sessions have ended.
type reason struct {
	Name  string
	Count int64
}

// reasons returns them, the most frequent first.
func reasons(counts map[string]int64) (rs []reason) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > 0 {
			rs = append(rs, reason{name, counts[name]})
		}
	}
	slices.SortStableFunc(rs, func(a, b reason) int { return cmp.Compare(b.Count, a.Count) })
	return rs
}

// An ordering is a choice of an order.
type ordering struct {
	Name, Title string
	Chosen      bool
}

// A heading is that of a column; the table may be sorted by it.
type heading struct {
	Title, Class string
	Href         string // to sort by it, or empty
	Sorted       string // ascending or descending, if it is sorted by
}

// A link goes to another page.
type link struct{ Title, Href string }

func writePage(w http.ResponseWriter, v url.Values, q query, list Listing) {
	q.ID, q.After, q.Q = shorten(q.ID), shorten(q.After), shorten(q.Q)
	pg := view{
		Listing: list, Style: template.CSS(style), Query: q, Ended: shorten(v.Get("ended")),
		Ends: reasons(list.Totals.Ended), Turned: reasons(list.Totals.Refused), Here: q.encode(),
		From: (q.Page-1)*pageSize + min(len(list.Sessions), 1), To: (q.Page-1)*pageSize + len(list.Sessions),
	}
	refresh := ""
	if n, err := strconv.Atoi(v.Get("refresh")); err == nil && n > 0 {
		pg.Refresh = min(n, 3600)
		refresh = "refresh=" + strconv.Itoa(pg.Refresh)
		w.Header().Set("Refresh", fmt.Sprintf("%d; url=%s", pg.Refresh, href(q, refresh)))
	}
	pg.Links = links(q, list.Pages, refresh)
	for _, o := range orders {
		pg.Orders = append(pg.Orders, ordering{o.name, o.title, o.name == q.Sort})
	}
	pg.Heads = heads(q, refresh)
	var b bytes.Buffer // whole, or not at all
	if err := page.Execute(&b, pg); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

// href returns a link to a query, refreshed or not.
func href(q query, refresh string) string {
	s := q.encode()
	if s != "" && refresh != "" {
		s += "&"
	}
	return "?" + s + refresh
}

// links returns those to other pages.
func links(q query, pages int, refresh string) (ls []link) {
	to := func(title string, n int) {
		q := q
		q.Page = n
		ls = append(ls, link{title, href(q, refresh)})
	}
	if q.Page > 1 {
		to("First", 1)
		to("Previous", q.Page-1)
	}
	if q.Page < pages {
		to("Next", q.Page+1)
		to("Last", pages)
	}
	return ls
}

// heads returns the headings of the columns.
func heads(q query, refresh string) []heading {
	hs := []heading{
		{Title: "session"}, {Title: "client"}, {Title: "to"}, {Title: "state"}, {Title: oldest, Class: "n"}, {Title: "last", Class: "n"},
		{Title: "requests", Class: "n"}, {Title: "repeats", Class: "n"}, {Title: "in", Class: "n"}, {Title: "out", Class: "n"},
		{Title: "queued", Class: "n"}, {Title: "unread", Class: "n"},
	}
	for i := range hs {
		h := &hs[i]
		if h.Class == "" || !sorted(h.Title) {
			continue
		}
		by := q
		by.Sort, by.Page, by.After = h.Title, 1, ""
		if h.Title == q.Sort {
			h.Sorted = "descending"
			if h.Title == oldest {
				by.Sort = "new"
			}
		} else if h.Title == oldest && q.Sort == "new" {
			h.Sorted = "ascending"
		}
		h.Href = href(by, refresh)
	}
	return hs
}

// size writes a number of bytes for people.
func size(n any) string {
	const units = "kMGTPE"
	var f float64
	switch n := n.(type) {
	case int:
		f = float64(n)
	case int64:
		f = float64(n)
	}
	if f < 1000 {
		return strconv.FormatFloat(f, 'f', 0, 64) + " B"
	}
	f /= 1000
	u := 0
	for ; f >= 999.5 && u < len(units)-1; u++ {
		f /= 1000
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %cB", f, units[u])
	}
	return fmt.Sprintf("%.0f %cB", f, units[u])
}

// span writes a number of seconds for people, by its two largest units.
func span(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", seconds)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", seconds/3600, seconds/60%60)
	}
	return fmt.Sprintf("%d d %d h", seconds/86400, seconds/3600%24)
}
