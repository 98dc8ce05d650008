package boshnats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/nats-io/nats.go"
)

// Options configure a Node. The zero value is good.
type Options struct {
	// Name is the node's name: see [bosh.Options.Node]. The default is made at
	// random. It is best for processes that come and go.
	Name string

	// Subject is the start of all subjects, for several endpoints in one NATS account.
	// The default is "bosh".
	Subject string

	// Addr is a TCP address of this process where others can see whether it lives, as
	// [embed.Addr] of the server in it, or where it serves HTTP. Without it, or on all
	// interfaces, as ":80", they take it for dead if no node can reach it by NATS for twice
	// Heartbeat. With it they also try to connect, and wait for Patience unless the
	// connection is refused.
	Addr string

	// Heartbeat is the time between the node's signs of life. The default is 300 ms, and
	// all nodes must have the same. After twice as long without one the others ask the
	// node, and each other about it. If another node hears it, a route between NATS
	// servers is broken, and requests go by way of the other node. If none does, the node
	// is gone: at once if NATS has nobody of its name and nobody listens at its Addr; or
	// else after Patience, 3 s by default. Heartbeat must be shorter than the recovery of
	// a broken route, a second or more: by a missing heartbeat nodes see the loss of
	// messages.
	Heartbeat, Patience time.Duration

	// Spread is the longest time for telling the waiting clients of a gone node, since
	// all of them will log in anew. A thousand a second are told in any case. The
	// default is 2 s; negative tells all at once.
	Spread time.Duration

	// MaxMessage is the largest request or answer, in bytes. It must be larger than
	// the limits of [bosh.Options]: MaxBody and 64 KiB, and twice the sum of
	// MaxElement and WriteBuffer. The default is 64 MiB. Messages too large for
	// NATS go in pieces. The pieces of unfinished messages take no more than four
	// times this.
	MaxMessage int

	// Adopt has the node take over the sessions of nodes that leave by HandOver. Its
	// application must know by [bosh.Stream.Imported] who the client is. The default is
	// false: it takes none.
	Adopt bool

	// Logger gets the news for an operator: nodes come and go, or two have the same
	// name. The default is [slog.Default].
	Logger *slog.Logger
}

// A Node is a process among others. Make it by Join.
type Node struct {
	o        Options
	nc       *nats.Conn
	instance string // tells it from others of its name
	reply    string // what its reply subjects begin with
	max      int    // of a NATS message
	h        atomic.Pointer[bosh.Handler]
	ids      atomic.Uint64
	subs     []*nats.Subscription
	own      *nats.Subscription // one of them: requests of its sessions
	joined   time.Time
	next     atomic.Pointer[peer] // the successor
	given    uint64               // sessions, by HandOver
	doubted  atomic.Bool          // another process seems to have the name: see double
	quit     chan struct{}
	running  sync.WaitGroup
	left     sync.Once
	pongs    chan string // of the instances that have the name, while it joins

	beating sync.Mutex // held while a heartbeat is sent, so that they go out in order
	beats   uint64     // guarded by beating
	silent  bool       // there are no more of them; guarded by beating

	mu      sync.Mutex // guards the following
	over    bool
	peers   map[string]*peer
	waiting map[uint64]*call
	partial map[string]*part // by reply subject
	parts   int              // bytes of them
	gather  map[uint64]chan []byte

	// Calls to unheard nodes, with their start. Mostly NATS knows they do not exist,
	// but not if somebody listens to all subjects.
	strangers map[uint64]time.Time
	unknown   map[string]*stranger // those that others are asked after
	queue     []string             // their names, the next one first
	inquiring bool                 // inquireAll runs
	leaving   bool                 // nothing begins to run any more
	heirs     []*heir
	twin      twin
}

// A peer is another node.
type peer struct {
	name     string
	instance string
	addr     string    // of TCP, or empty
	heard    time.Time // when it was last known to live
	beat     time.Time // when its last heartbeat came
	beats    uint64    // the number of that
	told     uint64    // the highest number that others have heard
	via      string    // the node by which it can be reached; empty for itself
	absent   bool      // NATS has said that there is nobody of its name, after all that was heard
	sought   bool      // seek runs
	of       string    // if it has left: the node that has taken over its name
	former   string    // its instance then
	heir     string    // the node that will
	dead     bool
	died     bool // for sure: nobody listens at its address, or another process does

	// Of HandOver alone:
	has     int  // sessions that it has taken over
	refuses bool // it has taken none
}

// A call is a passed-on request.
type call struct {
	to     string
	via    string // by which node; or empty
	answer func([]byte, error)
	pieces message
	probe  bool
}

// A part is an unfinished request.
type part struct {
	message
	at time.Time
}

// Errors of requests. Their clients repeat them.
var (
	errLost    = errors.New("boshnats: messages between nodes have been lost")
	errRefused = errors.New("boshnats: the node has no answer")
	errLeft    = errors.New("boshnats: this node has left")
	errNoOne   = errors.New("boshnats: NATS knows nobody of the name: the message has come to nobody")

	// The Handler asks again.
	errAbsent = fmt.Errorf("boshnats: nobody of the name of a node was found, which may live: %w", bosh.ErrMoved)
)

// maxKept is the largest buffer to be used again.
const maxKept = 4 << 10

// Join makes the process a node. It fails if another one has its name. It blocks until
// this is known, some tenths of a second. It does not close nc.
func Join(nc *nats.Conn, o Options) (*Node, error) {
	o.Name = cmp.Or(o.Name, strings.ToLower(rand.Text()[:8]))
	if err := bosh.CheckNode(o.Name); err != nil {
		return nil, fmt.Errorf("boshnats: %w", err)
	}
	o.Subject = cmp.Or(o.Subject, "bosh")
	if strings.ContainsAny(o.Subject, "*> \t\r\n") || strings.HasPrefix(o.Subject, ".") || strings.HasSuffix(o.Subject, ".") {
		return nil, fmt.Errorf("boshnats: no subject can begin with %q", o.Subject)
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 300 * time.Millisecond
	}
	if o.Patience <= 0 {
		o.Patience = 3 * time.Second
	}
	o.Spread = max(cmp.Or(o.Spread, 2*time.Second), 0)
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 20
	}
	if o.Addr != "" {
		host, _, err := net.SplitHostPort(o.Addr)
		if err != nil || strings.ContainsAny(o.Addr, " \t\r\n") {
			return nil, fmt.Errorf("boshnats: Addr: %q is no address", o.Addr)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			o.Addr = ""
		}
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	n := &Node{
		o: o, nc: nc, instance: rand.Text(), max: int(nc.MaxPayload()), quit: make(chan struct{}), pongs: make(chan string, 16),
		peers: make(map[string]*peer), waiting: make(map[uint64]*call), partial: make(map[string]*part), gather: make(map[uint64]chan []byte),
		strangers: make(map[uint64]time.Time), unknown: make(map[string]*stranger), joined: time.Now(),
	}
	n.reply = o.Subject + ".reply." + o.Name + "." + n.instance + "."
	if n.max <= 2*overhead {
		return nil, fmt.Errorf("boshnats: the NATS server takes messages of %d bytes at most, which is too little", n.max)
	}
	if err := n.join(); err != nil {
		n.Leave()
		return nil, err
	}
	lost := nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED)
	n.running.Go(func() { n.run(lost) })
	return n, nil
}

func (n *Node) join() error {
	if err := n.subscribe(n.reply+"*", n.answered); err != nil {
		return err
	}
	ask := func() error { return n.nc.PublishRequest(n.subject(n.o.Name), n.reply+"0", []byte{ping}) }
	// One question is not enough: a server may still list a node after its leave,
	// and the question is lost.
	answered := false
	for i := 0; i < 10 && !answered; i++ {
		if err := ask(); err != nil {
			return fmt.Errorf("boshnats: %w", err)
		}
		select {
		case who := <-n.pongs: // "" if NATS says that there is nobody
			if answered = true; who != "" {
				return n.taken()
			}
		case <-time.After(200 * time.Millisecond):
		}
	}
	if !answered {
		return fmt.Errorf("boshnats: NATS does not say whether there is another node %q", n.o.Name)
	}
	if err := n.subscribe(n.subject(n.o.Name), n.serve); err != nil {
		return err
	}
	n.own = n.subs[len(n.subs)-1]
	if err := n.subscribe(n.o.Subject+".up", n.heard); err != nil {
		return err
	}
	if err := n.subscribe(n.o.Subject+".stats", n.askedForStats); err != nil {
		return err
	}
	if err := n.nc.Flush(); err != nil {
		return fmt.Errorf("boshnats: %w", err)
	}
	// Two may have asked at the same time. The one with the later instance gives way.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 6 {
		ask()
		for more := true; more; {
			select {
			case who := <-n.pongs:
				if who != "" && who < n.instance {
					return n.taken()
				}
			case <-tick.C:
				more = false
			}
		}
	}
	n.beat()
	return n.nc.Flush()
}

func (n *Node) taken() error {
	return fmt.Errorf("boshnats: another process has the name %q: every node needs one of its own", n.o.Name)
}

func (n *Node) subscribe(subject string, f nats.MsgHandler) error {
	sub, err := n.nc.Subscribe(subject, f)
	if err != nil {
		return fmt.Errorf("boshnats: %w", err)
	}
	n.subs = append(n.subs, sub)
	return nil
}

func (n *Node) subject(name string) string { return n.o.Subject + ".node." + name }

// Name returns the name, for [bosh.Options.Node].
func (n *Node) Name() string { return n.o.Name }

// Serve has h serve the requests of its sessions from other nodes. Before the call they
// are told to try again. It does not block.
func (n *Node) Serve(h *bosh.Handler) {
	n.h.Store(h)
	n.beating.Lock()
	silent := n.silent
	n.beating.Unlock()
	if silent {
		n.drain(h)
	}
}

// Leave ends it: requests are neither passed on any more nor served. Call it when
// [bosh.Handler.Shutdown] has returned. It does not close the connection.
func (n *Node) Leave() {
	n.left.Do(func() {
		heir := n.bequeath()
		n.mu.Lock()
		n.leaving = true
		n.mu.Unlock()
		close(n.quit)
		n.running.Wait()
		for _, s := range n.subs {
			s.Unsubscribe()
		}
		n.mu.Lock()
		for _, x := range n.heirs {
			x.leave()
		}
		n.over = true
		lost := n.take(func(*call) bool { return true })
		n.mu.Unlock()
		for _, c := range lost {
			c.answer(nil, errLeft)
		}
		n.nc.Publish(n.o.Subject+".up", []byte(n.o.Name+" "+n.instance+" bye "+heir))
		if n.nc.IsConnected() {
			n.nc.FlushTimeout(time.Second)
		}
	})
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// send publishes a message, in pieces if need be.
func (n *Node) send(subject, reply string, m []byte) error {
	return n.sendAs(whole, piece, subject, reply, m)
}

func (n *Node) sendAs(whole, piece byte, subject, reply string, m []byte) error {
	if len(m) > n.o.MaxMessage {
		return errLarge
	}
	publish := func(b []byte) error {
		if reply == "" {
			return n.nc.Publish(subject, b)
		}
		return n.nc.PublishRequest(subject, reply, b)
	}
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	if size := min(len(m)+overhead, n.max); cap(*p) < size {
		b := make([]byte, 0, size)
		if size > maxKept {
			return cut(whole, piece, b, m, n.max, publish)
		}
		*p = b
	}
	return cut(whole, piece, (*p)[:0], m, n.max, publish)
}

// Relay passes a request on: it is for [bosh.Options.Relay].
func (n *Node) Relay(node string, m []byte, answer func(message []byte, err error)) {
	if bosh.CheckNode(node) != nil {
		if answer != nil {
			answer(nil, bosh.ErrNoNode)
		}
		return
	}
	n.mu.Lock()
	home, err := n.home(node)
	by := n.way(home)
	n.mu.Unlock()
	if home != node && answer != nil {
		if home != n.o.Name && relay.Short(m) {
			answer(nil, bosh.MovedTo(home)) // rather than to be in the way
			return
		}
		answer = perhaps(answer)
	}
	node = home
	if err != nil {
		if answer != nil {
			answer(nil, err)
		}
		return
	}
	if answer == nil {
		n.dispatch(node, "", "", m)
		if by != "" { // and behind what was sent before
			n.dispatch(node, by, "", m)
		}
		return
	}
	n.relay(node, m, answer, true)
}

// home returns the node to ask for a session that is not here, of the node of that name.
// The caller holds the lock.
func (n *Node) home(name string) (string, error) {
	own := name == n.o.Name
	is, active := n.adopted(name)
	if p := n.next.Load(); p != nil && (own || active) {
		return p.name, nil
	}
	switch {
	case own && n.draining(): // it is on its way
		return name, bosh.ErrMoved
	case is && active: // it has just come
		return n.o.Name, nil
	}
	return name, nil
}

// draining reports whether our own sessions go elsewhere. If not, one that has come here is asked
// for by our own name: see [bosh.MovedTo].
func (n *Node) draining() bool {
	h := n.h.Load()
	return h == nil || h.Draining()
}

// perhaps has who asks ask again, rather than believe that a session is gone: it may be here
// again.
func perhaps(answer func([]byte, error)) func([]byte, error) {
	return func(a []byte, err error) {
		if errors.Is(err, bosh.ErrNoNode) {
			err = bosh.ErrMoved
		}
		answer(a, err)
	}
}

// way returns the node through which another one can be reached, if not directly. The
// caller holds the lock.
func (n *Node) way(node string) string {
	if p := n.peers[node]; p != nil {
		return p.via
	}
	return ""
}

// relay is Relay, if need be by way of a third node.
func (n *Node) relay(node string, m []byte, answer func(message []byte, err error), around bool) {
	c := &call{to: node, answer: answer}
	id := n.ids.Add(1)
	n.mu.Lock()
	p := n.peers[node]
	c.via = n.way(node)
	switch {
	case !around && c.via != "":
		n.mu.Unlock()
		answer(nil, errLost)
		return
	case n.over:
		n.mu.Unlock()
		answer(nil, errLeft)
		return
	case p != nil && p.dead:
		n.mu.Unlock()
		answer(nil, bosh.ErrNoNode)
		return
	}
	n.waiting[id] = c
	if p == nil && node != n.o.Name {
		n.strangers[id] = time.Now()
	}
	n.mu.Unlock()
	if err := n.dispatch(node, c.via, n.replyTo(id), m); err != nil {
		n.fail(id, err)
	}
}

func (n *Node) replyTo(id uint64) string { return n.reply + strconv.FormatUint(id, 36) }

// dispatch sends a message to a node, or to another one to pass it on.
func (n *Node) dispatch(to, by, reply string, m []byte) error {
	if by == "" {
		return n.send(n.subject(to), reply, m)
	}
	b := seal(nil, to, m)
	if len(b) > n.max {
		return errLost
	}
	return n.nc.PublishMsg(&nats.Msg{Subject: n.subject(by), Reply: reply, Data: b})
}

// fail has a request fail, if it still waits.
func (n *Node) fail(id uint64, err error) {
	n.mu.Lock()
	c := n.waiting[id]
	delete(n.waiting, id)
	n.mu.Unlock()
	if c != nil {
		c.answer(nil, err)
	}
}

// take removes the waiting calls for which f holds. The caller holds the lock.
func (n *Node) take(f func(*call) bool) (taken []*call) {
	for id, c := range n.waiting {
		if f(c) {
			taken = append(taken, c)
			delete(n.waiting, id)
		}
	}
	return taken
}

// answered gets the messages to the reply subjects.
func (n *Node) answered(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[len(n.reply):], 36, 64)
	if err != nil {
		return
	}
	absent := len(m.Data) == 0 && m.Header.Get("Status") == "503"
	if id == 0 {
		who := ""
		if !absent && len(m.Data) > 1 {
			who = string(m.Data[1:])
		}
		select {
		case n.pongs <- who:
		default:
		}
		return
	}
	if absent {
		n.absent(id)
		return
	}
	if len(m.Data) == 0 {
		return
	}
	data := m.Data[1:]
	n.mu.Lock()
	if to := n.gather[id]; to != nil && (m.Data[0] == counts || m.Data[0] == word) {
		n.mu.Unlock()
		select {
		case to <- data:
		default:
		}
		return
	}
	c := n.waiting[id]
	if c == nil {
		n.mu.Unlock()
		return
	}
	switch m.Data[0] {
	case pong:
		if p := n.peers[c.to]; c.probe && p != nil && p.instance == string(data) {
			p.heard, p.absent, p.via = time.Now(), false, ""
		}
	case piece:
		var done bool
		if done, err = c.pieces.add(data, n.o.MaxMessage); err == nil && !done {
			n.mu.Unlock()
			return
		}
		data = c.pieces.b
	case whole:
	case nobody:
		err = bosh.ErrNoNode
	case moved:
		if err = bosh.ErrMoved; bosh.CheckNode(string(data)) == nil {
			err = bosh.MovedTo(data)
		}
	default:
		if err = errRefused; c.probe && len(data) > 0 {
			err = fmt.Errorf("%w: %s", errRefused, data)
		}
	}
	delete(n.waiting, id)
	n.mu.Unlock()
	if err != nil {
		data = nil
	}
	c.answer(data, err)
}

// absent is called when NATS knows nobody of the name of a message's node. The node may
// have ended a moment ago. Or it has joined just now, and not all servers know it. Or a
// route between servers is broken.
func (n *Node) absent(id uint64) {
	n.mu.Lock()
	c := n.waiting[id]
	if c == nil {
		n.mu.Unlock()
		return
	}
	p := n.peers[c.to]
	switch {
	case c.via != "":
		if p != nil && p.via == c.via {
			p.via = ""
		}
	case p != nil:
		p.absent = true
	}
	if p == nil && !c.probe && n.inquire(id, c.to) {
		n.mu.Unlock()
		return
	}
	delete(n.waiting, id)
	n.mu.Unlock()
	switch {
	case c.probe:
		c.answer(nil, errNoOne)
	case p == nil:
		c.answer(nil, errAbsent)
	default:
		n.seek(p)
		c.answer(nil, errAbsent)
	}
}

// Why a node is gone as planned.
const (
	hasLeft = "it has left"
	hasNone = "its last session has ended"
)

// gone marks a node as gone, and tells its waiting clients, and those of the nodes that it
// had taken over. With died set its process is dead for sure.
func (n *Node) gone(p *peer, why string, died bool) {
	here := p.of == "" && n.succeed(p.instance, false)
	n.mu.Lock()
	p.died = p.died || died
	if p.dead || n.peers[p.name] != p {
		n.mu.Unlock()
		return
	}
	if again, ok := n.inherit(p, p.heir); ok {
		n.mu.Unlock()
		answerAll(again, bosh.ErrMoved)
		return
	}
	p.dead, p.via = true, ""
	for _, q := range n.peers {
		q.dead = q.dead || q.of == p.name
	}
	gone := n.take(func(c *call) bool {
		q := n.peers[c.to]
		return c.to == p.name || q != nil && q.of == p.name
	})
	lost := n.leaveWay(p.name)
	n.mu.Unlock()
	if here {
		n.o.Logger.Info("boshnats: a node has left, and its sessions are here", "node", p.name, "why", why)
		answerAll(gone, bosh.ErrMoved)
	} else {
		level := slog.LevelWarn
		if len(gone) == 0 && (why == hasLeft || why == hasNone) {
			level = slog.LevelInfo // as planned
		}
		n.o.Logger.Log(context.Background(), level, "boshnats: a node is gone", "node", p.name, "why", why, "waiting", len(gone))
		n.tell(p, gone)
	}
	answerAll(lost, errLost)
}

// leaveWay lets nothing go by way of a node any more. It returns the possibly lost
// calls. The caller holds the lock.
func (n *Node) leaveWay(name string) []*call {
	for _, p := range n.peers {
		if p.via == name {
			p.via = ""
		}
	}
	return n.take(func(c *call) bool { return c.via == name })
}

func answerAll(calls []*call, err error) {
	for _, c := range calls {
		c.answer(nil, err)
	}
}

// tell tells clients of the end of their node: a thousand a second, or more to be done
// within Spread. If the node turns out to live the others are not told.
func (n *Node) tell(p *peer, lost []*call) {
	if len(lost) == 0 {
		return
	}
	const tick = 10 * time.Millisecond
	step := len(lost)
	if n.o.Spread > 0 {
		step = max(10, (len(lost)*int(tick)+int(n.o.Spread)-1)/int(n.o.Spread))
	}
	go func() {
		for i, c := range lost {
			if i > 0 && i%step == 0 {
				select {
				case <-n.quit:
				case <-time.After(tick):
				}
			}
			n.mu.Lock()
			err := bosh.ErrNoNode
			if !p.dead && n.peers[p.name] == p {
				err = errLost
			}
			n.mu.Unlock()
			c.answer(nil, err)
		}
	}()
}
