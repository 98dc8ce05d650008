package session

import "time"

// A Receipt is asked for until the client's operating system has acknowledged the last
// answer. The owner asks, by the Handle.
type Receipt struct {
	Handle      any
	next, pause time.Duration // when it is asked for, and how long before it was
}

// due returns when the receipt is to be asked for.
func (r *Receipt) due() time.Duration {
	if r == nil {
		return never
	}
	return r.next
}

// later has the receipt asked for after some time, twice as long as the last time.
func (r *Receipt) later(now time.Duration) {
	r.pause = min(max(2*r.pause, firstReceipt), lastReceipt)
	r.next = now + r.pause
}

const (
	firstReceipt = 5 * time.Millisecond // most clients are not so near
	lastReceipt  = 5 * time.Second
)

// ReceiptDue returns the due Receipt, or nil. It is followed by ReceiptAsked.
func (m *Machine) ReceiptDue(now time.Duration) *Receipt {
	if m.receipt.due() > now {
		return nil
	}
	return m.receipt
}

// ReceiptAsked takes note whether all of the answer has arrived, if known.
func (m *Machine) ReceiptAsked(now time.Duration, r *Receipt, all, known bool) {
	switch {
	case m.receipt != r: // there is a later answer
	case all:
		m.win.Prove(m.carried)
		m.receipt = nil
		m.proved = true
	case known:
		r.later(now)
	default:
		m.receipt = nil
	}
}

// handle returns the handle of receipts for the answer to x, or nil.
func (m *Machine) handle(x *Exchange) any {
	if !m.cfg.ByKernel {
		return nil
	}
	return x.Carrier.Receipt()
}
