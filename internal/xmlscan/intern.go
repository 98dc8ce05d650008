package xmlscan

// An interned is a string in both its forms. The declarations of roots are
// nearly always the same few, and keeping them makes copies of them free.
type interned struct {
	s string
	b []byte
}

// wellKnown needs no copy in each scanner.
var wellKnown = func() (all []interned) {
	for _, s := range []string{
		"",
		"stream",
		"xmpp",
		"jabber:client",
		"http://etherx.jabber.org/streams",
		"http://jabber.org/protocol/httpbind",
		"urn:xmpp:xbosh",
		xmlPrefix,
		xmlURI,
	} {
		all = append(all, interned{s, []byte(s)})
	}
	return all
}()

const (
	maxInterned    = 16  // strings that a scanner keeps
	maxInternedLen = 128 // bytes in each
)

func (s *Scanner) intern(b []byte) interned {
	for _, e := range wellKnown {
		if e.s == string(b) {
			return e
		}
	}
	for _, e := range s.cache {
		if e.s == string(b) {
			return e
		}
	}
	return s.keep(string(b))
}

func (s *Scanner) internString(v string) interned {
	for _, e := range wellKnown {
		if e.s == v {
			return e
		}
	}
	for _, e := range s.cache {
		if e.s == v {
			return e
		}
	}
	return s.keep(v)
}

// keep puts v in the cache, in the place of the oldest entry.
func (s *Scanner) keep(v string) interned {
	e := interned{v, []byte(v)}
	switch {
	case len(v) > maxInternedLen:
	case len(s.cache) < maxInterned:
		s.cache = append(s.cache, e)
	default:
		s.cache[s.evict%maxInterned] = e
		s.evict++
	}
	return e
}
