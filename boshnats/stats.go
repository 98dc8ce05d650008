package boshnats

import (
	"cmp"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobosh/bosh"
	"github.com/nats-io/nats.go"
)

// NodeStats are the counts of one node.
type NodeStats struct {
	Node string `json:"node"`
	bosh.HandlerStats
}

// askedForStats gets the question of a node for our counts.
func (n *Node) askedForStats(m *nats.Msg) {
	h := n.h.Load()
	if h == nil || !strings.HasPrefix(m.Reply, n.o.Subject+".reply.") {
		return
	}
	if b, err := json.Marshal(NodeStats{n.o.Name, h.Stats()}); err == nil {
		n.nc.Publish(m.Reply, append([]byte{counts}, b...))
	}
}

// Nodes returns the names of all present nodes, this one included, in order.
func (n *Node) Nodes() []string {
	all := []string{n.o.Name}
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, p := range n.peers {
		if !p.dead && p.of == "" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// Stats asks all nodes for their counts, and waits for the answers of the present ones,
// for at most a second. They are in the order of their names.
func (n *Node) Stats() []NodeStats {
	id := n.ids.Add(1)
	all := n.Nodes()
	answers := make(chan []byte, len(all)+64)
	n.mu.Lock()
	n.gather[id] = answers
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.gather, id)
		n.mu.Unlock()
	}()
	if n.nc.PublishRequest(n.o.Subject+".stats", n.reply+strconv.FormatUint(id, 36), nil) != nil {
		return nil
	}
	var got []NodeStats
	for late := time.After(time.Second); len(got) < len(all); {
		select {
		case b := <-answers:
			var s NodeStats
			if json.Unmarshal(b, &s) == nil {
				got = append(got, s)
			}
			continue
		case <-late:
		case <-n.quit:
		}
		break
	}
	slices.SortFunc(got, func(a, b NodeStats) int { return cmp.Compare(a.Node, b.Node) })
	return got
}

// A Sum is the content of Monitor.
type Sum struct {
	Nodes   []NodeStats `json:"nodes"`
	Missing []string    `json:"missing"` // nodes that are there, and have not answered
	Total   NodeStats   `json:"total"`   // of those that have
}

// Sum asks all nodes for their counts, and adds them up. It waits as Stats does.
func (n *Node) Sum() Sum {
	s := Sum{Nodes: n.Stats(), Missing: []string{}}
	s.Total.Ended, s.Total.Refused, s.Total.Relayed = map[string]int64{}, map[string]int64{}, map[string]bosh.RelayStats{}
	for _, name := range n.Nodes() {
		if !slices.ContainsFunc(s.Nodes, func(o NodeStats) bool { return o.Node == name }) {
			s.Missing = append(s.Missing, name)
		}
	}
	t := &s.Total.HandlerStats
	for i := range s.Nodes {
		o := &s.Nodes[i].HandlerStats
		t.Sessions += o.Sessions
		t.Created += o.Created
		t.Memory += o.Memory
		t.MaxSessions += o.MaxSessions
		t.MaxMemory += o.MaxMemory
		t.Requests += o.Requests
		t.Repeats += o.Repeats
		t.PayloadsIn += o.PayloadsIn
		t.PayloadsOut += o.PayloadsOut
		t.BytesIn += o.BytesIn
		t.BytesOut += o.BytesOut
		t.Open += o.Open
		t.Queued += o.Queued
		t.Unread += o.Unread
		for reason, k := range o.Ended {
			t.Ended[reason] += k
		}
		for reason, k := range o.Refused {
			t.Refused[reason] += k
		}
		for peer, k := range o.Relayed {
			r := t.Relayed[peer]
			t.Relayed[peer] = bosh.RelayStats{Out: r.Out + k.Out, In: r.In + k.In, Failed: r.Failed + k.Failed}
		}
	}
	return s
}

// Relayed returns how many requests the node has had others serve, and has served for
// others.
func (s NodeStats) relayed() (sum bosh.RelayStats) {
	for _, r := range s.HandlerStats.Relayed {
		sum.Out, sum.In, sum.Failed = sum.Out+r.Out, sum.In+r.In, sum.Failed+r.Failed
	}
	return sum
}

// Monitor returns a handler. It shows the counts of all nodes and their sum, as a page
// and as JSON (by the header Accept or by ?format=json). It is for operators: mount it
// where only they come. The sessions of each node its own [bosh.Handler.Monitor] shows.
func (n *Node) Monitor() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hd := w.Header()
		hd.Set("Cache-Control", "no-store")
		hd.Set("X-Content-Type-Options", "nosniff")
		hd.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
		hd.Set("Vary", "Accept")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			hd.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		sum := n.Sum()
		if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
			hd.Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(sum)
			return
		}
		hd.Set("Content-Type", "text/html; charset=utf-8")
		page.Execute(w, sum)
	})
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{"relayed": NodeStats.relayed}).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>BOSH nodes</title>
</head>
<body>
<h1>BOSH nodes</h1>
<p><a href="?format=json">JSON</a></p>
<table border="1" cellpadding="4">
<thead><tr><th>node<th>live sessions<th>begun<th>open requests<th>requests<th>payloads in<th>out<th>memory<th>relayed to others<th>for others<th>failed</thead>
<tbody>
{{range .Nodes}}{{template "row" .}}{{end}}
</tbody>
<tfoot>{{with .Total}}{{template "row" .}}{{end}}</tfoot>
</table>
{{range .Missing}}<p role="status">{{.}} has not answered.</p>{{end}}
</body>
</html>
{{define "row"}}{{$r := relayed .}}<tr><th scope="row">{{or .Node "all"}}<td>{{.Sessions}}<td>{{.Created}}<td>{{.Open}}<td>{{.Requests}}<td>{{.PayloadsIn}}<td>{{.PayloadsOut}}<td>{{.Memory}}<td>{{$r.Out}}<td>{{$r.In}}<td>{{$r.Failed}}
{{end}}`))
