// The scenario of tests/clients/README.md with franz-go.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic      = "franz"
	partitions = 3
)

var (
	bootstrap = os.Args[1]
	protocol  = os.Args[2]
	large     = make([]byte, 1_500_000)
	stdin     = bufio.NewReader(os.Stdin)
)

func fail(format string, args ...any) {
	fmt.Printf("FAIL: "+format+"\n", args...)
	os.Exit(1)
}

func check(holds bool, format string, args ...any) {
	if !holds {
		fail(format, args...)
	}
}

func wait(holds func() bool, what string) {
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		check(time.Now().Before(deadline), "%s: not within a minute", what)
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Println("ok:", what)
}

func ask(word string) {
	fmt.Println(word)
	_, err := stdin.ReadString('\n')
	check(err == nil, "the answer to %s", word)
}

func client(options ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.FetchMaxWait(50 * time.Millisecond), kgo.ProducerBatchMaxBytes(4_000_000),
	}, options...)
	made, err := kgo.NewClient(all...)
	check(err == nil, "a client: %v", err)
	return made
}

// keys is a set that several members fill.
type keys struct {
	sync.Mutex
	set map[string]bool
}

func (k *keys) add(key string) bool {
	k.Lock()
	defer k.Unlock()
	was := k.set[key]
	k.set[key] = true
	return !was
}

func (k *keys) size() int {
	k.Lock()
	defer k.Unlock()
	return len(k.set)
}

func (k *keys) hasAll(other map[string]bool) bool {
	k.Lock()
	defer k.Unlock()
	for key := range other {
		if !k.set[key] {
			return false
		}
	}
	return true
}

func send(producer *kgo.Client, key string, value []byte, expected map[string]bool) {
	expected[key] = true
	headers := []kgo.RecordHeader{{Key: "of", Value: []byte(key)}, {Key: "empty", Value: nil}}
	record := &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Headers: headers}
	producer.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
		check(err == nil, "delivery: %v", err)
	})
}

func sendMany(producer *kgo.Client, prefix string, expected map[string]bool) {
	for n := 0; n < 100; n++ {
		key := fmt.Sprintf("%s-%d", prefix, n)
		send(producer, key, []byte("value of "+key), expected)
	}
	check(producer.Flush(context.Background()) == nil, "flush")
}

// sendSlowly has requests on their way while the node is killed.
func sendSlowly(producer *kgo.Client, prefix string, expected map[string]bool) {
	for n := 0; n < 200; n++ {
		key := fmt.Sprintf("%s-%d", prefix, n)
		send(producer, key, []byte("value of "+key), expected)
		time.Sleep(2 * time.Millisecond)
	}
	check(producer.Flush(context.Background()) == nil, "flush")
}

// member is a member of the group. What it reads it commits at once.
type member struct {
	client *kgo.Client
	owned  map[int32]bool
	guard  sync.Mutex
	done   chan struct{}
	leaves context.CancelFunc
}

func (m *member) own(of map[string][]int32, is bool) {
	m.guard.Lock()
	defer m.guard.Unlock()
	for _, partition := range of[topic] {
		if is {
			m.owned[partition] = true
		} else {
			delete(m.owned, partition)
		}
	}
}

func (m *member) count() int {
	m.guard.Lock()
	defer m.guard.Unlock()
	return len(m.owned)
}

func join(read *keys) *member {
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{owned: map[int32]bool{}, done: make(chan struct{}), leaves: cancel}
	group := []kgo.Opt{
		kgo.ConsumerGroup("franz"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, of map[string][]int32) { m.own(of, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, of map[string][]int32) { m.own(of, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, of map[string][]int32) { m.own(of, false) }),
	}
	if protocol == "consumer" {
		// The broker assigns (KIP-848), by its uniform assignor.
		group = append(group, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		group = append(group, kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
	}
	m.client = client(group...)
	go m.run(ctx, read)
	return m
}

func (m *member) run(ctx context.Context, read *keys) {
	defer close(m.done)
	for ctx.Err() == nil {
		poll, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := m.client.PollFetches(poll)
		cancel()
		var records []*kgo.Record
		fetches.EachRecord(func(record *kgo.Record) {
			verify(record)
			check(read.add(string(record.Key)), "%s came twice", record.Key)
			records = append(records, record)
		})
		for tries := 0; len(records) > 0; tries++ {
			err := m.client.CommitRecords(context.Background(), records...)
			if err == nil {
				break
			}
			check(tries < 100, "a commit was never taken: %v", err)
			time.Sleep(100 * time.Millisecond)
		}
		m.client.AllowRebalance()
	}
	m.client.CloseAllowingRebalance()
}

func (m *member) leave() {
	m.leaves()
	<-m.done
}

func verify(record *kgo.Record) {
	key := string(record.Key)
	check(len(record.Headers) == 2 && string(record.Headers[0].Value) == key, "headers of %s", key)
	switch {
	case strings.HasSuffix(key, "tombstone"):
		check(record.Value == nil, "a tombstone has no value")
	case strings.HasSuffix(key, "large"):
		check(string(record.Value) == string(large), "a large value comes whole")
	default:
		check(string(record.Value) == "value of "+key, "values")
	}
}

func seekByTime(since time.Time) {
	admin := kadm.NewClient(client())
	found, err := admin.ListOffsetsAfterMilli(context.Background(), since.UnixMilli(), topic)
	check(err == nil, "offsets by time: %v", err)
	ends, err := admin.ListEndOffsets(context.Background(), topic)
	check(err == nil, "end offsets: %v", err)
	left, start := int64(0), map[int32]kgo.Offset{}
	found.Each(func(at kadm.ListedOffset) {
		end, _ := ends.Lookup(topic, at.Partition)
		left += end.Offset - at.Offset
		start[at.Partition] = kgo.NewOffset().At(at.Offset)
	})
	check(left == 200, "seek by time found %d records", left)
	consumer := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}))
	defer consumer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for count := int64(0); count < left; {
		fetches := consumer.PollFetches(ctx)
		check(ctx.Err() == nil, "what was sought by time did not come")
		fetches.EachRecord(func(record *kgo.Record) {
			check(record.Timestamp.UnixMilli() >= since.UnixMilli(), "a record is older than asked for")
			count++
		})
	}
}

func main() {
	_, _ = rand.Read(large)
	admin := kadm.NewClient(client())
	limit := "4000000"
	created, err := admin.CreateTopic(context.Background(), partitions, 1, map[string]*string{"max.message.bytes": &limit}, topic)
	check(err == nil && created.Err == nil, "create: %v", err)

	expected, read := map[string]bool{}, &keys{set: map[string]bool{}}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		producer := client(kgo.ProducerBatchCompression(codec))
		send(producer, name+"-large", large, expected)
		send(producer, name+"-tombstone", nil, expected)
		sendMany(producer, name, expected)
		producer.Close()
	}
	a, b := join(read), join(read)
	wait(func() bool { return read.hasAll(expected) }, "two members read everything")
	wait(func() bool { return a.count()+b.count() == partitions && a.count() > 0 && b.count() > 0 }, "they share the partitions")

	producer := client(kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	sendMany(producer, "before", expected)
	underway := make(chan struct{})
	go func() {
		defer close(underway)
		sendSlowly(producer, "during", expected)
	}()
	ask("RESTART")
	<-underway
	time.Sleep(2 * time.Millisecond)
	restarted := time.Now()
	sendMany(producer, "after", expected)
	wait(func() bool { return read.hasAll(expected) }, "the group goes on after kill -9")
	c := join(read)
	wait(func() bool { return a.count() == 1 && b.count() == 1 && c.count() == 1 }, "a third member gets its share")
	b.leave()
	sendMany(producer, "late", expected)
	wait(func() bool { return read.hasAll(expected) }, "the others take over")
	a.leave()
	c.leave()
	seekByTime(restarted)
	check(read.size() == len(expected), "nothing came that was not sent")
	fmt.Println("PASS")
}
