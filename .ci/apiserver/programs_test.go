package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/services"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"gopkg.in/yaml.v3"
	cliflag "k8s.io/component-base/cli/flag"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	manageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config/latest"

	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestProgramsTakeWhatNodesGiveThem: the flags and files that a node makes for k3s are taken by
// the programs that k3s runs. (kube-apiserver's are in server.serve, etcd's in startEtcd.)
func TestProgramsTakeWhatNodesGiveThem(t *testing.T) {
	for _, name := range first.fleet.Nodes.Names {
		c, err := first.fleet.Config(name)
		if err != nil {
			t.Fatal(err)
		}
		if c.Role == node.Control { // has no k3s
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := settings(c)
			reserved := node.OverheadOf(c.Role, 4<<30)
			got, err := runKubelet(t, s, k3sDefaults, k3sconfig.Kubelet(reserved))
			if want := wanted(reserved); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v\nthe kubelet has %+v\nwant            %+v", err, got, want)
			}
			if c.Role != node.Server {
				return
			}
			if err := judgeManager(s); err != nil {
				t.Error(err)
			}
			if err := judgeScheduler(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// inForce is what a kubelet makes of all that it is given. It ignores fields that it does not know.
type inForce struct {
	VolumePluginDir                                      string
	ShutdownGracePeriod, ShutdownGracePeriodCriticalPods string
	ShutdownGracePeriodByPodPriority                     []group
	SystemReserved                                       map[string]string
}

// group is of pods from a priority on.
type group struct{ Priority, ShutdownGracePeriodSeconds int }

func wanted(reserved node.Overhead) *inForce {
	return &inForce{
		VolumePluginDir:     "/var/lib/kubelet/volumeplugins",
		ShutdownGracePeriod: "0s", ShutdownGracePeriodCriticalPods: "0s",
		ShutdownGracePeriodByPodPriority: []group{{0, 15}, {1_000_000_000, 5}, {2_000_000_000, 5}},
		SystemReserved:                   map[string]string{"cpu": fmt.Sprintf("%dm", reserved.CPU), "memory": fmt.Sprintf("%dMi", reserved.Memory>>20)},
	}
}

// TestAKubeletRefuses what the test above would have to find.
func TestAKubeletRefuses(t *testing.T) {
	c, err := first.fleet.Config(first.fleet.Cluster.K3s.Init)
	if err != nil {
		t.Fatal(err)
	}
	reserved := node.OverheadOf(c.Role, 4<<30)
	whole, earlier := k3sconfig.Kubelet(reserved), k3sDefaults+"shutdownGracePeriod: 60s\nshutdownGracePeriodCriticalPods: 20s\n"
	if got, err := runKubelet(t, settings(c), earlier, whole); err != nil || !reflect.DeepEqual(got, wanted(reserved)) {
		t.Errorf("periods of an earlier file: %+v, %v", got, err)
	}
	both := strings.Replace(whole, "shutdownGracePeriod: 0s\nshutdownGracePeriodCriticalPods: 0s\n", "", 1)
	if _, err := runKubelet(t, settings(c), earlier, both); err == nil {
		t.Error("both kinds of periods: taken")
	}
	c.K3s.Labels = map[string]string{"node-role.kubernetes.io/worker": "true"}
	if _, err := runKubelet(t, settings(c), k3sDefaults, whole); err == nil {
		t.Error("a label that no node may give itself: taken")
	}
}

// TestContainerdReadsItsPart from where k3s' own configuration imports it (k3s,
// pkg/agent/templates).
func TestContainerdReadsItsPart(t *testing.T) {
	dir := t.TempDir()
	main, part := filepath.Join(dir, "config.toml"), filepath.Join(dir, "20-imagebuilder.toml")
	for name, text := range map[string]string{main: "version = 3\nimports = [\"" + part + "\"]\n", part: k3sconfig.Containerd} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := containerd.Config{Version: 3}
	if err := containerd.LoadConfig(t.Context(), main, &all); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{plugins.ServicePlugin.String() + "." + services.DiffService: map[string]any{"sync_fs": true}}
	if !reflect.DeepEqual(all.Plugins, want) {
		t.Errorf("containerd reads %v", all.Plugins)
	}
}

func settings(c *node.Config) node.Settings {
	return k3sconfig.Config(c, k3sconfig.Place{Address: netip.MustParseAddr("100.64.0.1"), Create: true})
}

// arguments are those that k3s passes on to a program.
func arguments(s node.Settings, key string) (all []string) {
	for _, a := range s.List(key) {
		all = append(all, "--"+strings.TrimPrefix(a, "--"))
	}
	return all
}

// k3sDefaults is the kubelet's first drop-in, which k3s itself writes (k3s,
// pkg/daemons/agent/agent.go), as far as our own meets with it. What it says of cgroup v1 is for
// the machine that runs the tests: nodes have v2.
const k3sDefaults = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
evictionHard: {imagefs.available: 5%, nodefs.available: 5%}
evictionMinimumReclaim: {imagefs.available: 10%, nodefs.available: 10%}
failSwapOn: false
failCgroupV1: false
serializeImagePulls: false
`

// kubeletVar in the environment makes this program a kubelet: some of what a kubelet sets is
// global, and it can be started once a process.
const kubeletVar = "APISERVER_TEST_KUBELET"

func beKubelet() {
	cmd := kubelet.NewKubeletCommand(context.Background())
	cmd.SilenceErrors = true
	cmd.SetArgs(os.Args[1:])
	fmt.Print(cmd.Execute())
}

// judged is the kubelet's error once it has taken all flags and files, and before it touches the
// machine: it was told to end when another takes its lock, and not which lock.
const judged = "cannot exit on lock file contention: no lock file specified"

// runKubelet starts one with the flags of k3s (pkg/daemons/agent/agent_linux.go), and returns what
// it makes of them and of the files, or why it does not take them.
func runKubelet(t *testing.T, s node.Settings, defaults, ours string) (*inForce, error) {
	dir := t.TempDir()
	for name, text := range map[string]string{"00-k3s-defaults.conf": defaults, "20-imagebuilder.conf": ours} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	args := append([]string{
		"--config-dir=" + dir, "--read-only-port=0", "--cloud-provider=external", "--hostname-override=" + s["node-name"].(string),
		"--node-ip=" + s["node-ip"].(string), "--node-labels=" + strings.Join(s.List("node-label"), ","),
		"--register-with-taints=" + strings.Join(s.List("node-taint"), ","), "--exit-on-lock-contention", "--v=5",
	}, arguments(s, "kubelet-arg")...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), kubeletVar+"=1")
	var log bytes.Buffer
	cmd.Stderr = &log
	said, err := cmd.Output()
	if err == nil && !strings.HasSuffix(string(said), judged) {
		err = errors.New(string(said))
	}
	if err != nil {
		return nil, err
	}
	_, text, _ := strings.Cut(log.String(), "\"KubeletConfiguration\" configuration=<")
	var got inForce
	return &got, json.NewDecoder(strings.NewReader(text)).Decode(&got)
}

func judgeManager(s node.Settings) error {
	o, err := manageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := manager.KnownControllers(), manager.ControllersDisabledByDefault(), manager.ControllerAliases()
	if err := parse(o.Flags(known, off, aliases), arguments(s, "kube-controller-manager-arg")); err != nil {
		return err
	}
	return o.Validate(known, off, aliases)
}

// judgeScheduler also judges the timings of leases, which all controllers have alike.
func judgeScheduler(s node.Settings) error {
	o := scheduleroptions.NewOptions()
	if err := parse(*o.Flags, arguments(s, "kube-scheduler-arg")); err != nil {
		return err
	}
	config, err := schedulerconfig.Default()
	if err != nil {
		return err
	}
	config.LeaderElection = *o.LeaderElection
	o.ComponentConfig = config
	return errors.Join(o.Validate()...)
}

func parse(sets cliflag.NamedFlagSets, args []string) error {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	return flags.Parse(args)
}

// etcdConfig is etcd's, from a file of settings that k3s makes of a server's etcd-arg. etcd does
// not tell what it does not know among them.
func etcdConfig(dir string, s node.Settings) (*embed.Config, error) {
	all := map[string]any{}
	for _, a := range s.List("etcd-arg") {
		name, value := node.CutArg(a)
		var v any
		if err := yaml.Unmarshal([]byte(value), &v); err != nil {
			return nil, err
		}
		all[name] = v
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "etcd.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	c, err := embed.ConfigFromFile(file)
	if err == nil && (c.TickMs != node.EtcdHeartbeat || c.ElectionMs != node.EtcdElection) {
		err = fmt.Errorf("etcd took %s as %d and %d ms", text, c.TickMs, c.ElectionMs)
	}
	return c, err
}
