package registry

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/gobosh/bosh/internal/wire"
)

// A Metric is a count as monitoring systems take it. The fields are those of the root
// package's Metric, so that one converts to the other.
type Metric struct {
	Name, Help string
	Counter    bool
	Labels     [][2]string
	Value      float64
}

// metrics has each field of the root package's HandlerStats: what it is called, what it
// means, and whether it only grows. All that shows counts reads them from here. A test
// compares the two.
var metrics = []struct {
	field, name, help string
	counter           bool
	label             string   // of a field that is a map, or a label and its value
	first             []string // the keys of a map that are there from the start, so that a rate shows the first event too
}{
	{"Sessions", "bosh_sessions", "Sessions that live now.", false, "", nil},
	{"MaxSessions", "bosh_sessions_max", "Sessions that there may be; 0 for no limit.", false, "", nil},
	{"Created", "bosh_sessions_created_total", "Sessions that have begun.", true, "", nil},
	{"Ended", "bosh_sessions_ended_total", "Sessions that have ended, by reason: a condition, closed for a good end, inactive for a client's silence," +
		" moved to another process.", true, "reason", append([]string{"closed", "inactive", "moved"}, conditions...)},
	{"Refused", "bosh_sessions_refused_total", "Sessions refused at their creation, by condition.", true, "condition", conditions},
	{"Open", "bosh_requests_open", "Requests that are held, early, or being answered.", false, "", nil},
	{"Requests", "bosh_requests_total", "Requests received, repeats included.", true, "", nil},
	{"Repeats", "bosh_requests_repeated_total", "Requests that had been received before.", true, "", nil},
	{"PayloadsIn", "bosh_payloads_total", payloads, true, "direction=in", nil},
	{"PayloadsOut", "bosh_payloads_total", payloads, true, "direction=out", nil},
	{"BytesIn", "bosh_body_bytes_total", bytes, true, "direction=in", nil},
	{"BytesOut", "bosh_body_bytes_total", bytes, true, "direction=out", nil},
	{"Relayed", "bosh_relayed_requests_total", "Requests passed on to another node (out), from it (in), and to it in vain (failed);" +
		" the one without a name has never answered.", true, "node", []string{""}},
	{"Queued", "bosh_queued_bytes", "Bytes that wait for clients.", false, "", nil},
	{"Unread", "bosh_unread_bytes", "Bytes that wait for the application.", false, "", nil},
	{"Memory", "bosh_memory_bytes", "Bytes that sessions and requests on their way keep, as MaxMemory counts.", false, "", nil},
	{"MaxMemory", "bosh_memory_max_bytes", "Bytes that they may keep; 0 for no limit.", false, "", nil},
}

const (
	payloads = "Payloads received (in) and sent (out)."
	bytes    = "Bytes of request bodies (in) and response bodies (out)."
)

// conditions are the terminal conditions, sorted.
var conditions = slices.Sorted(wire.Conditions())

// Metrics yields the metrics of stats, a HandlerStats of the root package. Those of one
// name come one behind the other.
func Metrics(stats any) iter.Seq[Metric] {
	return func(yield func(Metric) bool) {
		of := reflect.ValueOf(stats)
		for _, m := range metrics {
			for labels, value := range values(of.FieldByName(m.field), m.label, m.first) {
				if !yield(Metric{m.name, m.help, m.counter, labels, value}) {
					return
				}
			}
		}
	}
}

// values yields the values of a field with their labels. A map has one for each key, or, of
// structs, for each of their fields.
func values(field reflect.Value, label string, first []string) iter.Seq2[[][2]string, float64] {
	return func(yield func([][2]string, float64) bool) {
		if field.Kind() != reflect.Map {
			var labels [][2]string
			if name, value, ok := strings.Cut(label, "="); ok {
				labels = [][2]string{{name, value}}
			}
			yield(labels, float64(field.Int()))
			return
		}
		for _, key := range keys(field, first) {
			value := field.MapIndex(reflect.ValueOf(key))
			if !value.IsValid() {
				value = reflect.Zero(field.Type().Elem())
			}
			if value.Kind() == reflect.Int64 {
				if !yield([][2]string{{label, key}}, float64(value.Int())) {
					return
				}
				continue
			}
			for i := range value.NumField() {
				direction := strings.ToLower(value.Type().Field(i).Name)
				if !yield([][2]string{{label, key}, {"direction", direction}}, float64(value.Field(i).Int())) {
					return
				}
			}
		}
	}
}

// keys returns the keys of a map and the first ones, sorted.
func keys(field reflect.Value, first []string) []string {
	all := make(map[string]bool)
	for _, key := range first {
		all[key] = true
	}
	for _, key := range field.MapKeys() {
		all[key.String()] = true
	}
	return slices.Sorted(maps.Keys(all))
}
