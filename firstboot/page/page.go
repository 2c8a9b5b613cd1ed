// Package page is the node's own page on the LAN. It shows how far the node is and what to do, in
// the language of the phone that asks, and it is the one way to hand something to the node, which
// its owner must have signed.
//
// It runs as a process of its own. It reads what Run reports, and stores what is handed over where
// Run finds it; package firstboot judges what that is worth. It refuses to show a secret, to load
// anything from elsewhere, to answer under a name that is not the node's, and to change anything.
package page

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/words"
)

// Limits on what strangers on the LAN can take of the node's resources.
const (
	mostConnections = 64
	mostHeader      = 8 << 10
	patience        = 15 * time.Second // for one request
	tries           = 5                // how often something may be handed over in a row
	tryAgain        = 6 * time.Second  // after this there is one more try
)

// Serve shows the page until ctx ends or the node no longer wants to show it.
func Serve(ctx context.Context, h firstboot.Host, l net.Listener) error {
	s := &http.Server{
		Handler:           Handler(h),
		ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: 2 * patience, IdleTimeout: 2 * patience,
		MaxHeaderBytes: mostHeader,
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		wait(ctx, h)
		s.Close()
	}()
	if err := s.Serve(netutil.LimitListener(l, mostConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// wait returns when the page is not to be shown any more.
func wait(ctx context.Context, h firstboot.Host) {
	for {
		if _, err := h.Files.Stat(firstboot.PageFile); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if h.Clock.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// Handler serves the page.
func Handler(h firstboot.Host) http.Handler {
	s := &server{host: h, budget: budget{clock: h.Clock}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.show)
	mux.HandleFunc("POST /{$}", s.take)
	return s.guard(mux)
}

type server struct {
	host   firstboot.Host
	budget budget
}

// guard answers only requests for this node's names. Another website that a browser is tricked into
// loading from this address (DNS rebinding) has another name.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", policy)
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cache-Control", "no-store")
		head.Set("Vary", "Accept-Language")
		if !s.ours(r.Host) {
			http.Error(w, "this is another computer", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ours reports whether a Host header names this node: by an address, which
// nobody can point elsewhere, or by one of its names.
func (s *server) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	name, err := s.host.System.Hostname()
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return err == nil && (host == name || host == name+".local")
}

func (s *server) show(w http.ResponseWriter, r *http.Request) {
	status, err := firstboot.ReadStatus(s.host.Files)
	known := err == nil
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = template.Execute(w, newView(status, known, language(r))) // an error means that the phone has gone
}

func language(r *http.Request) *words.Language { return words.Choose(r.Header.Get("Accept-Language")) }

// contentType is the type of what is handed over. A form on another site cannot send it without a
// preflight request, which is not answered.
const contentType = "application/yaml"

var crossOrigin http.CrossOriginProtection

func (s *server) take(w http.ResponseWriter, r *http.Request) {
	l := language(r)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case crossOrigin.Check(r) != nil:
		http.Error(w, "this comes from another page", http.StatusForbidden)
		return
	case err != nil || kind != contentType:
		http.Error(w, "want "+contentType, http.StatusUnsupportedMediaType)
		return
	case !s.budget.take():
		http.Error(w, l.Labels.Busy, http.StatusTooManyRequests)
		return
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, node.ReservedSize+1))
	if err != nil {
		http.Error(w, l.Labels.Lost, http.StatusBadRequest)
		return
	}
	err = firstboot.Offer(s.host, data)
	var p *firstboot.Problem
	switch {
	case errors.As(err, &p):
		summary, remedy := say(l, p)
		http.Error(w, summary+"\n"+remedy, http.StatusUnprocessableEntity)
	case err != nil:
		http.Error(w, l.Labels.Lost, http.StatusInternalServerError)
	default:
		_, _ = io.WriteString(w, l.Labels.Taken+"\n")
	}
}

// say puts a problem into words, in English if the language has no words for it.
func say(l *words.Language, p *firstboot.Problem) (summary, remedy string) {
	if summary, remedy, ok := l.Problem(p.Code, p.Args); ok {
		return summary, remedy
	}
	return p.Summary, p.Remedy
}
