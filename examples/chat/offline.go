package main

import "sort"

const (
	// maxOffline and maxOfflineSize bound the kept messages of a user, in
	// number and in bytes.
	maxOffline     = 100
	maxOfflineSize = 1 << 20
)

// An offline keeps the messages for an absent user, in their order of arrival.
// XEP-0160.
type offline struct {
	packets []*packet
	size    int
}

// add keeps a message, and reports whether there was room.
func (o *offline) add(p *packet) bool {
	if len(o.packets) == maxOffline || o.size+p.size() > maxOfflineSize {
		return false
	}
	i := sort.Search(len(o.packets), func(i int) bool { return o.packets[i].at.After(p.at) })
	o.packets = append(o.packets, nil)
	copy(o.packets[i+1:], o.packets[i:])
	o.packets[i] = p
	o.size += p.size()
	return true
}

// take hands the messages over one by one, for as long as they are taken.
func (o *offline) take(taken func(*packet) bool) {
	for len(o.packets) > 0 && taken(o.packets[0]) {
		o.size -= o.packets[0].size()
		o.packets = o.packets[1:]
	}
	if len(o.packets) == 0 {
		o.packets = nil
	}
}
