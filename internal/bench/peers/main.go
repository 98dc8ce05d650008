// Command peers measures BOSH beside WebSocket: coder/websocket and gorilla/websocket
// against this library's framings Opaque and Elements, each with and without
// Options.Direct. It prints a table in Markdown.
//
//	cd internal/bench/peers
//	go run .                 # all; some three minutes
//	go run . -run 'fan|idle' -n 10000
//
// The server of each kind is a process of its own: its CPU time and its memory are the
// server's alone. They come from Linux's /proc. The clients of BOSH are those of
// package boshclient. They do more than a benchmark's client has to: rates are those
// of both ends together.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

var (
	serveKind = flag.String("serve", "", "serve this `kind`, for the program itself")
	run       = flag.String("run", ".", "measure what matches this `pattern`")
	kindsFlag = flag.String("kinds", ".", "with the kinds that match this `pattern`")
	seconds   = flag.Duration("d", 2*time.Second, "how long each rate is measured")
	clients   = flag.Int("n", 1000, "how many connections are idle, and get an event")
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("peers: ")
	flag.Parse()
	if *serveKind != "" {
		log.Fatal(serve(*serveKind))
	}
	what, err := regexp.Compile(*run)
	if err != nil {
		log.Fatal(err)
	}
	which, err := regexp.Compile(*kindsFlag)
	if err != nil {
		log.Fatal(err)
	}
	if err := table(what, which); err != nil {
		log.Fatal(err)
	}
}

// table measures, and prints a row for each figure and a column for each kind.
func table(what, which *regexp.Regexp) error {
	var names []string
	var columns []map[string]string
	for _, k := range kinds {
		if !which.MatchString(k.name) {
			continue
		}
		figures := make(map[string]string)
		for _, m := range measures {
			if !what.MatchString(m.name) {
				continue
			}
			if err := measureOne(k, m, figures); err != nil {
				return fmt.Errorf("%s, %s: %w", k.name, m.name, err)
			}
		}
		names, columns = append(names, k.name), append(columns, figures)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "| \t| %s\t|\n", strings.Join(names, "\t| "))
	fmt.Fprintf(w, "|---\t|%s\n", strings.Repeat("---\t|", len(names)))
	for _, m := range measures {
		for _, row := range m.rows {
			if columns == nil || columns[0][row] == "" {
				continue
			}
			fmt.Fprintf(w, "| %s\t|", row)
			for _, figures := range columns {
				fmt.Fprintf(w, " %s\t|", figures[row])
			}
			fmt.Fprintln(w)
		}
	}
	return w.Flush()
}

// measureOne takes one measure of a kind, with a server of its own.
func measureOne(k kind, m measure, figures map[string]string) error {
	s, err := startServer(k.name)
	if err != nil {
		return err
	}
	defer s.stop()
	return m.take(k, s, func(row, format string, args ...any) { figures[row] = fmt.Sprintf(format, args...) })
}
