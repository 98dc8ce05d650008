package state

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample returns a Session in which every field is set.
func sample() *Session {
	key, next, addr := "key", "newkey", "203.0.113.9"
	return &Session{
		SID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ.node-1", Secure: true, Label: "juliet", Age: time.Hour, Heard: time.Second,
		Grant: Grant{
			Wait: time.Minute, Inactivity: 75 * time.Second, Polling: 5 * time.Second, Pause: 2 * time.Minute, Hold: 1, Requests: 2,
			Ver: "1.11", Content: "text/xml; charset=utf-8", Legacy: true, Acks: true, Streams: true,
		},
		Origin: Origin{
			Fields: []string{"POST", "/", "HTTP/1.1", "example.com", "192.0.2.1:5", "/", "Origin", "https://example.com"}, Addr: &addr,
			TLS: &TLS{Version: 0x304, Cipher: 0x1301, Server: "example.com", Proto: "h2", Certs: [][]byte{{1, 2}, {3}}},
		},
		App: []byte("application"), Pause: 60, Idle: 3 * time.Second, Sent: &Sent{Age: time.Millisecond, Rid: 1000}, Vain: 4,
		Window: Window{
			Last: 1002, Acked: 999, Arrived: time.Second, Keep: true, Empty: true, Beyond: true, Next: &next,
			Records: []Record{
				{Rid: 1000, State: Answered, Body: []byte("<body/>"), At: time.Hour, Payload: true, Of: 1, Load: 7, Key: &key},
				{Rid: 1001, State: Answered, Body: []byte("<body></body>"), At: time.Hour, Pause: true, Seen: true, Sum: 1 << 63},
				{
					Rid: 1002, State: Open, At: time.Second, Sum: 5, Empty: true, Release: true, End: true, Left: time.Minute, Opener: 2,
					Lost: &Lost{Rid: 1000, Age: time.Minute},
				},
				{Rid: 1004, State: Early, Body: []byte("<body rid='1004'/>"), Sum: 6},
			},
		},
		Streams: []Stream{
			{
				Framing: "XMPP", Name: "STREAM", Local: "192.0.2.2:443", In: []byte("<a/><b/>"), Marks: []Mark{{End: 4}, {End: 8, Last: true}},
				Opening: Opening{
					To: "example.com", From: "juliet@example.com", Lang: "en", Route: "r", Version: "1.0", Wait: time.Minute,
					Attr: []Attr{{Space: "urn:a", Local: "b", Value: "c"}},
				},
				Out: []byte("<c/>"), Count: 1, Foreign: 1, Given: 12, Head: &Head{ID: "1", From: "a", To: "b", Version: "1.0", Lang: "en"},
				Announced: true, Lapsed: true, Naming: 1, Restarts: 2, Cut: &Cut{Root: "s:stream", Bindings: []Binding{{"s", "urn:s"}}},
			},
			{Framing: "Opaque", Name: "OTHER", Number: 1, In: []byte{0}},
		},
		Company: &Company{Named: true, Opened: 2, Turn: 1, Left: []string{"GONE"}},
	}
}

func TestRoundTrip(t *testing.T) {
	for name, s := range map[string]*Session{
		"all":   sample(),
		"least": {SID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Grant: Grant{Requests: 1, Ver: "1.6", Content: "text/xml"}, Window: Window{Last: 1}, Streams: []Stream{{Framing: "Elements"}}},
	} {
		b := s.Append([]byte("before"))
		got, err := Read(b[len("before"):])
		require.NoError(t, err, name)
		assert.Equal(t, s, got, name)
		assert.Equal(t, b, got.Append([]byte("before")), name)
	}
}

var update = flag.Bool("update", false, "write the golden file of this version")

// What any version that is still read has written is read, today and later: a file of
// testdata is never changed. A new version adds one.
func TestGolden(t *testing.T) {
	path := func(version string) string { return filepath.Join("testdata", "v"+version+".hex") }
	if *update {
		text := hex.EncodeToString(sample().Append(nil))
		require.NoError(t, os.WriteFile(path("1"), []byte(text+"\n"), 0o644))
	}
	text, err := os.ReadFile(path("1"))
	require.NoError(t, err)
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	got, err := Read(b)
	require.NoError(t, err)
	assert.Equal(t, sample(), got)
	if Version == 1 {
		assert.Equal(t, b, sample().Append(nil), "a version is not changed: there is to be a new one")
	}
	assert.GreaterOrEqual(t, Oldest, Version-1)
}

// What is of a later version, or damaged, is refused, and says so.
func TestRefused(t *testing.T) {
	b := sample().Append(nil)
	later := append([]byte(nil), b...)
	later[len(magic)] = Version + 1
	_, err := Read(later)
	assert.EqualError(t, err, "bosh: state of a session in version 2, and this program reads 1 to 1: update one release after the other")
	later[len(magic)] = 0
	_, err = Read(later)
	assert.ErrorContains(t, err, "version 0")
	for n := range b {
		_, err := Read(b[:n])
		assert.ErrorIs(t, err, errState, "cut at %d", n)
	}
	_, err = Read(append(b, 0))
	assert.ErrorIs(t, err, errState)
	for name, spoil := range map[string]func(s *Session){
		"no stream":              func(s *Session) { s.Streams = nil },
		"sid":                    func(s *Session) { s.SID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'/>" },
		"short sid":              func(s *Session) { s.SID = "A" },
		"name":                   func(s *Session) { s.Streams[0].Name = "a'" },
		"left":                   func(s *Session) { s.Company.Left[0] = "a'" },
		"turn":                   func(s *Session) { s.Company.Turn = 9 },
		"company":                func(s *Session) { s.Company = nil },
		"content":                func(s *Session) { s.Grant.Content = "text/xml\r\nA: b" },
		"ver":                    func(s *Session) { s.Grant.Ver = "" },
		"wait":                   func(s *Session) { s.Grant.Wait = 70000 * time.Second },
		"hold":                   func(s *Session) { s.Grant.Hold = 2 },
		"rids":                   func(s *Session) { s.Window.Records[1].Rid = 1000 },
		"early":                  func(s *Session) { s.Window.Records[3].Rid = 1003 },
		"too early":              func(s *Session) { s.Window.Records[3].Rid = 1009 },
		"open":                   func(s *Session) { s.Window.Last = 1001 },
		"acked":                  func(s *Session) { s.Window.Acked = 1003 },
		"no answer":              func(s *Session) { s.Window.Records[0].Body = nil },
		"opener":                 func(s *Session) { s.Window.Records[2].Opener = 3 },
		"lost":                   func(s *Session) { s.Window.Records[2].Lost.Rid = 1002 },
		"marks":                  func(s *Session) { s.Streams[0].Marks[1].End = 4 },
		"count":                  func(s *Session) { s.Streams[0].Count = 0 },
		"foreign":                func(s *Session) { s.Streams[0].Foreign = 2 },
		"root":                   func(s *Session) { s.Streams[0].Cut.Root = "" },
		"output without a count": func(s *Session) { s.Streams[1].Out = []byte("a") },
	} {
		s := sample()
		spoil(s)
		_, err := Read(s.Append(nil))
		assert.ErrorIs(t, err, errState, name)
	}
}

// Programs of two versions side by side: the later one reads what the earlier one writes,
// and not the other way round; the one after it does not read the first any more.
func TestVersions(t *testing.T) {
	extra := ""
	code := func(s *Session, c *codec) {
		s.code(c)
		if c.version >= Version+1 {
			c.texts(&extra)
		}
	}
	next, last := format{Version, Version + 1, code}, format{Version + 1, Version + 2, code}
	old := sample().Append(nil)
	extra = "a new field"
	later := next.write(nil, sample())

	extra = ""
	got, err := next.read(old)
	require.NoError(t, err)
	assert.Equal(t, sample(), got)
	assert.Empty(t, extra)
	for _, f := range []format{next, last} {
		extra = ""
		got, err = f.read(later)
		require.NoError(t, err)
		assert.Equal(t, sample(), got)
		assert.Equal(t, "a new field", extra)
	}
	_, err = Read(later)
	assert.ErrorContains(t, err, fmt.Sprintf("in version %d, and this program reads %d to %d", Version+1, Oldest, Version))
	_, err = last.read(old)
	assert.ErrorContains(t, err, fmt.Sprintf("reads %d to %d", Version+1, Version+2))
}

// Whatever comes, Read does not panic, allocates no more than a small multiple of it, and
// what it takes it writes the same.
func FuzzRead(f *testing.F) {
	f.Add(sample().Append(nil))
	f.Add([]byte("BOSH\x01"))
	f.Add([]byte("BOSH\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Read(b)
		if err != nil {
			return
		}
		again, err := Read(s.Append(nil))
		require.NoError(t, err)
		assert.Equal(t, s, again)
	})
}
