// A running group goes from the classic protocol to the newer one (KIP-848) and back, member by member, while it reads.
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.*;

public class Rolling {
    static final int PARTITIONS = 6;
    static String bootstrap;
    static String strategy;
    static String topic;
    static String group;
    static final Set<String> read = new ConcurrentSkipListSet<>();
    static final Set<String> expected = new ConcurrentSkipListSet<>();
    static volatile boolean producing = true;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        strategy = args[1];
        topic = "rolling-" + strategy;
        group = "rolling-" + strategy;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
            Thread producer = new Thread(Rolling::produce);
            producer.start();
            List<Member> members = new ArrayList<>();
            for (int n = 0; n < 3; n++) members.add(new Member("classic"));
            await(() -> share(members), "three members of the classic protocol share the partitions");
            kind(admin, GroupType.CLASSIC);
            for (String protocol : List.of("consumer", "classic")) {
                for (int n = 0; n < members.size(); n++) {
                    int before = read.size();
                    members.get(n).leave();
                    members.set(n, new Member(protocol));
                    await(() -> share(members), "member " + n + " speaks " + protocol);
                    await(() -> read.size() > before + 100, "the group goes on reading");
                    // The newer kind comes with its first member, and goes with its last.
                    boolean isClassic = protocol.equals("classic") && n == members.size() - 1;
                    kind(admin, isClassic ? GroupType.CLASSIC : GroupType.CONSUMER);
                }
                if (protocol.equals("consumer")) {
                    ask("RESTART");
                    await(() -> share(members), "the group outlives kill -9");
                }
            }
            producing = false;
            producer.join();
            await(() -> read.containsAll(expected), "everything is read");
            for (Member member : members) member.leave();
            check(read.equals(expected), "nothing came that was not sent");
        }
        System.out.println("PASS");
    }

    static boolean share(List<Member> members) {
        Set<TopicPartition> all = new HashSet<>();
        int sum = 0;
        for (Member member : members) {
            if (member.owned.isEmpty()) return false;
            all.addAll(member.owned);
            sum += member.owned.size();
        }
        return all.size() == PARTITIONS && sum == PARTITIONS;
    }

    static void kind(Admin admin, GroupType expected) throws Exception {
        for (GroupListing listing : admin.listGroups().all().get()) {
            if (listing.groupId().equals(group)) {
                check(listing.type().orElseThrow() == expected, "the group is " + listing + ", not " + expected);
                return;
            }
        }
        fail("the group is not listed");
    }

    static void produce() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "enable.idempotence", "true", "linger.ms", "5");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int n = 0; producing; n++) {
                String key = "key-" + n;
                expected.add(key);
                producer.send(new ProducerRecord<>(topic, key, "v"), (metadata, error) -> { if (error != null) fail(error.toString()); });
                Thread.sleep(2);
            }
        } catch (InterruptedException error) {
            fail(error.toString());
        }
    }

    /** A member in a thread of its own. What it reads it commits at once. */
    static class Member {
        final Thread thread;
        final String protocol;
        volatile Set<TopicPartition> owned = Set.of();
        volatile boolean leaves;

        Member(String protocol) {
            this.protocol = protocol;
            thread = new Thread(this::run);
            thread.setDaemon(true);
            thread.start();
        }

        Map<String, Object> config() {
            Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "group.id", group,
                "auto.offset.reset", "earliest", "enable.auto.commit", "false", "group.protocol", protocol));
            if (protocol.equals("classic")) {
                config.put("session.timeout.ms", "10000");
                config.put("heartbeat.interval.ms", "300");
                config.put("partition.assignment.strategy", strategy.equals("range") ? RangeAssignor.class.getName()
                    : CooperativeStickyAssignor.class.getName());
            }
            return config;
        }

        void run() {
            try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config(), new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                    public void onPartitionsRevoked(Collection<TopicPartition> partitions) { commit(consumer); }
                    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}
                    public void onPartitionsLost(Collection<TopicPartition> partitions) {
                        // A classic consumer that is closed during a rebalance calls what it owns lost, whatever the broker says.
                        if (!leaves) fail(protocol + " lost " + partitions);
                    }
                });
                while (!leaves) {
                    ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(50));
                    owned = Set.copyOf(consumer.assignment());
                    for (ConsumerRecord<String, String> record : records) check(read.add(record.key()), record + " came twice");
                    if (!records.isEmpty()) commit(consumer);
                }
                commit(consumer);
            } catch (Throwable error) {
                error.printStackTrace();
                fail(error.toString());
            }
        }

        /** During a rebalance it may be too early: the next one takes everything with it. */
        void commit(KafkaConsumer<String, String> consumer) {
            try {
                consumer.commitSync();
            } catch (RebalanceInProgressException early) {
                System.out.println("a commit waits for the rebalance");
            }
        }

        void leave() throws InterruptedException {
            leaves = true;
            thread.join();
        }
    }

    interface Condition { boolean holds(); }

    static void await(Condition condition, String what) throws InterruptedException {
        long deadline = System.currentTimeMillis() + 60_000;
        while (!condition.holds()) {
            check(System.currentTimeMillis() < deadline, what + ": not within a minute");
            Thread.sleep(20);
        }
        System.out.println("ok: " + what);
    }

    /** Tells whoever runs this to do something, and waits until it is done. */
    static void ask(String word) throws Exception {
        System.out.println(word);
        check(System.in.read() >= 0, "the answer to " + word);
        System.in.skip(System.in.available());
    }

    static void check(boolean holds, String what) { if (!holds) fail(what); }

    static void fail(String what) {
        System.out.println("FAIL: " + what);
        System.exit(1);
    }
}
