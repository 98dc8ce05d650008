package xmlscan

// A common is a start tag of many XMPP stanzas, letter by letter the same: an empty element
// with nothing but a declaration of its own namespace. So it leaves nothing behind, and it
// takes no more than a comparison to scan it.
//
// The list is fixed, though one could learn tags: it takes no memory for a session, and its
// timing tells nobody about the tags of others.
type common struct {
	text string // behind the '<'
	uri  string
}

// commons holds the common tags by the hash of their first eight bytes, with
// either quote.
var commons = func() (table [64]struct {
	first uint64
	tags  [2]common
}) {
	for _, t := range [...]struct{ name, uri string }{
		{"active", "http://jabber.org/protocol/chatstates"},
		{"composing", "http://jabber.org/protocol/chatstates"},
		{"paused", "http://jabber.org/protocol/chatstates"},
		{"inactive", "http://jabber.org/protocol/chatstates"},
		{"gone", "http://jabber.org/protocol/chatstates"},
		{"request", "urn:xmpp:receipts"},
		{"markable", "urn:xmpp:chat-markers:0"},
		{"store", "urn:xmpp:hints"},
		{"no-store", "urn:xmpp:hints"},
		{"no-copy", "urn:xmpp:hints"},
		{"private", "urn:xmpp:carbons:2"},
		{"enable", "urn:xmpp:carbons:2"},
		{"ping", "urn:xmpp:ping"},
		{"time", "urn:xmpp:time"},
		{"query", "jabber:iq:roster"},
		{"vCard", "vcard-temp"},
		{"bind", "urn:ietf:params:xml:ns:xmpp-bind"},
		{"session", "urn:ietf:params:xml:ns:xmpp-session"},
		{"blocklist", "urn:xmpp:blocking"},
		{"x", "http://jabber.org/protocol/muc"},
	} {
		for k, quote := range [...]string{"'", `"`} {
			text := t.name + " xmlns=" + quote + t.uri + quote + "/>"
			w := word([]byte(text), 0)
			c := &table[commonHash(w)]
			c.first, c.tags[k] = w, common{text, t.uri}
		}
	}
	return table
}()

// commonHash has no collisions between the common tags.
func commonHash(w uint64) uint64 { return w * 0x83333218BD91A1B7 >> 58 }

// maybeCommon tells whether the tag with its name at offset i begins like a common one.
func maybeCommon(b []byte, i int) bool {
	if i < 0 || i >= len(b)-7 {
		return false
	}
	w := word(b, i)
	return commons[commonHash(w)].first == w && w != 0
}

// commonStart is plainStart after maybeCommon.
func (s *Scanner) commonStart(b []byte, i int) int {
	if s.tooDeep() || len(s.binds) >= orDefault(s.Limits.Bindings, 128) {
		return -1
	}
	c := &commons[commonHash(word(b, i))]
	for k := range c.tags {
		t := &c.tags[k]
		if end := i + len(t.text); end <= len(b) && string(b[i:end]) == t.text && t.uri != s.Watch {
			return end
		}
	}
	return s.plainStart(b, i)
}
