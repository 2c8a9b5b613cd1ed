package apiserver_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// server is kube-apiserver with its etcd, as the fleet's first server runs them:
// with the authorities that its node.yaml brings.
type server struct {
	home    string // with the fleet's files
	fleet   *fleet.Fleet
	config  *node.Config
	port    int
	log     string
	etcd    *embed.Etcd
	end     context.CancelFunc
	stopped chan error
	*client // its owner's
}

// start makes a fleet in dir and waits until its API is ready.
func start(ctx context.Context, dir string) (*server, error) {
	s := &server{home: filepath.Join(dir, "home"), log: filepath.Join(dir, "log"), stopped: make(chan error, 1)}
	var err error
	if s.fleet, err = newFleet(s.home); err != nil {
		return nil, err
	}
	if s.config, err = s.fleet.Config(s.fleet.Cluster.K3s.Init); err != nil {
		return nil, err
	}
	tls := tlsDir(filepath.Join(dir, "tls"))
	if err := tls.lay(s.config.K3s.CA, s.config.Node); err != nil {
		return nil, err
	}
	if err := s.quiet(); err != nil {
		return nil, err
	}
	if s.etcd, err = startEtcd(filepath.Join(dir, "etcd"), s.log, tls, settings(s.config)); err != nil {
		return nil, err
	}
	if err := s.serve(ctx, tls); err != nil {
		return nil, err
	}
	text, err := ownersKubeconfig(s.home)
	if err != nil {
		return nil, err
	}
	if s.client, err = newClient(text, "", s.port); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := s.addKinds(ctx); err != nil {
		return nil, err
	}
	return s, s.prepare(ctx)
}

// quiet sends what the server logs into a file.
func (s *server) quiet() error {
	f, err := os.Create(s.log)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	klog.SetOutput(f)
	return errors.Join(flags.Set("logtostderr", "false"), flags.Set("stderrthreshold", "FATAL"))
}

// startEtcd has k3s' authorities for the clients of its etcd, and the node's settings.
func startEtcd(dir, log string, tls tlsDir, of node.Settings) (*embed.Etcd, error) {
	c, err := etcdConfig(filepath.Dir(dir), of)
	if err != nil {
		return nil, err
	}
	c.Dir, c.LogLevel, c.LogOutputs, c.UnsafeNoFsync = dir, "error", []string{log}, true
	c.EnableGRPCGateway = false // it would ask itself by a port that is not known yet
	c.ClientTLSInfo = transport.TLSInfo{CertFile: tls.at("etcd/server.crt"), KeyFile: tls.at("etcd/server.key"), TrustedCAFile: tls.at("etcd/server-ca.crt"), ClientCertAuth: true}
	here, peers := []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}, []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientUrls, c.AdvertiseClientUrls = here, here
	c.ListenPeerUrls, c.AdvertisePeerUrls = peers, peers
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err := <-e.Err():
		return nil, fmt.Errorf("etcd: %w", err)
	}
}

// serve starts the API server with the flags that k3s gives it (k3s,
// pkg/daemons/control/server.go, apiServer), as far as they matter without nodes, and with those
// of the node.
func (s *server) serve(ctx context.Context, tls tlsDir) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	o := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range o.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	own := tls.flags(s.etcd.Clients[0].Addr().String(), s.port)
	if err := flags.Parse(append(own, arguments(settings(s.config), "kube-apiserver-arg")...)); err != nil {
		return err
	}
	o.SecureServing.Listener = listener
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	ctx, s.end = context.WithCancel(ctx)
	done, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(done.Validate()...); err != nil {
		return err
	}
	go func() { s.stopped <- app.Run(ctx, done) }()
	return nil
}

func (d tlsDir) flags(etcd string, port int) []string {
	return []string{
		"--advertise-address=127.0.0.1", "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--endpoint-reconciler-type=none",
		"--etcd-servers=https://" + etcd, "--etcd-cafile=" + d.at("etcd/server-ca.crt"), "--etcd-certfile=" + d.at("etcd/client.crt"), "--etcd-keyfile=" + d.at("etcd/client.key"),
		"--tls-cert-file=" + d.at("serving-kube-apiserver.crt"), "--tls-private-key-file=" + d.at("serving-kube-apiserver.key"), "--cert-dir=" + string(d),
		"--client-ca-file=" + d.at("client-ca.crt"),
		"--requestheader-client-ca-file=" + d.at("request-header-ca.crt"), "--requestheader-allowed-names=system:auth-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--api-audiences=https://kubernetes.default.svc.cluster.local,k3s",
		"--service-account-key-file=" + d.at("service.key"), "--service-account-signing-key-file=" + d.at("service.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false", "--allow-privileged=true",
		"--enable-bootstrap-token-auth=true", "--service-cluster-ip-range=10.43.0.0/16", "--profiling=false",
	}
}

// ready waits for the API, and for the namespaces that it makes itself.
func (s *server) ready(ctx context.Context) error {
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		code, answer, err := s.do(ctx, "GET", "/readyz", "", nil)
		if err == nil && code == 200 {
			if code, _, err = s.do(ctx, "GET", "/api/v1/namespaces/default", "", nil); err == nil && code == 200 {
				return nil
			}
		}
		select {
		case err := <-s.stopped:
			return fmt.Errorf("kube-apiserver: %w", err)
		default:
		}
		refused := code == http.StatusUnauthorized || code == http.StatusForbidden // who may do all is never told to wait
		if refused || time.Now().After(end) {
			log, _ := os.ReadFile(s.log)
			return fmt.Errorf("kube-apiserver is not ready: %d %s %v\n%s", code, answer, err, log[max(0, len(log)-4096):])
		}
	}
}

// stop ends both.
func (s *server) stop() error {
	s.end()
	err := <-s.stopped
	s.etcd.Close()
	return err
}
