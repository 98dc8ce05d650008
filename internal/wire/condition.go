package wire

import (
	"iter"
	"maps"
	"net/http"
)

// conditions are the reasons for the end of a session, each with its HTTP status for
// clients without `ver`, or 0. XEP-0124, sections 17.1 and 17.2. The root package has a
// constant for each; its tests compare them.
var conditions = map[string]int{
	"bad-request":              http.StatusBadRequest,
	"host-gone":                0,
	"host-unknown":             0,
	"improper-addressing":      0,
	"internal-server-error":    0,
	"item-not-found":           http.StatusNotFound,
	"other-request":            0,
	"policy-violation":         http.StatusForbidden,
	"remote-connection-failed": 0,
	"remote-stream-error":      0,
	"see-other-uri":            0,
	"system-shutdown":          0,
	"undefined-condition":      0,
}

// Defined reports whether XEP-0124 has the condition.
func Defined(condition string) bool {
	_, ok := conditions[condition]
	return ok
}

// LegacyStatus returns the HTTP status of a condition for clients without `ver`, or 0.
func LegacyStatus(condition string) int { return conditions[condition] }

// Conditions yields all of them.
func Conditions() iter.Seq[string] { return maps.Keys(conditions) }
