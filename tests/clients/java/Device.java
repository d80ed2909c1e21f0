import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

import org.eclipse.californium.core.CoapClient;
import org.eclipse.californium.core.CoapResponse;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.pskstore.SinglePskStore;
import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.resource.BaseInstanceEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.LwM2mId;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.UpdateRequest;
import org.eclipse.leshan.core.request.argument.Arguments;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.core.response.WriteResponse;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.transport.californium.client.endpoint.coap.CoapClientProtocolProvider;
import org.eclipse.leshan.transport.californium.client.endpoint.coaps.CoapsClientProtocolProvider;

/**
 * A device on Leshan's client: registers, tells object 3, and takes updates by object 5. Its radio, codec, blocks and DTLS
 * are Leshan's and Californium's; only what every maker writes for itself is here.
 *
 * An image begins with a line of two words, the version and the SHA-256 of what follows it.
 *
 *     java Device name=sensor-7 server=coaps://127.0.0.1:5684 identity=… key=…hex… version=1.0.0 method=both
 *     java Device name=sensor-7 server=coaps://127.0.0.1:5684 cert=device.der private=key.der trusts=server.der
 */
public final class Device {
    private final Map<String, String> told;
    private final Firmware firmware = new Firmware();
    private final ExecutorService work = Executors.newSingleThreadExecutor();
    private volatile String version;
    private LeshanClient client;

    private Device(Map<String, String> told) {
        this.told = told;
        this.version = told.get("version");
    }

    public static void main(String[] words) {
        Map<String, String> told = new HashMap<>(Map.of("version", "1.0.0", "method", "both", "lifetime", "60",
                "schemes", "0", "body_max", "4000000", "boots", "well", "cid", "on"));
        for (String word : words) {
            String[] pair = word.split("=", 2);
            told.put(pair[0], pair[1]);
        }
        Device device = new Device(told);
        device.boot();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> device.client.destroy(true)));
    }

    private static void say(String words) {
        System.out.println(words);
        System.out.flush();
    }

    private boolean isSecure() {
        return told.get("server").startsWith("coaps:");
    }

    private byte[] key() {
        return HexFormat.of().parseHex(told.get("key"));
    }

    /** How the server is reached: with a key, with certificates on both ends (the server's is this very one), or without. */
    private Security security() {
        String server = told.get("server");
        if (!isSecure()) {
            return Security.noSec(server, 1);
        }
        if (told.containsKey("cert")) {
            return Security.x509(server, 1, file("cert"), file("private"), file("trusts"));
        }
        return Security.psk(server, 1, told.get("identity").getBytes(StandardCharsets.UTF_8), key());
    }

    private byte[] file(String word) {
        try {
            return Files.readAllBytes(Path.of(told.get(word)));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private Configuration configure(Configuration configuration) {
        configuration.set(CoapConfig.MAX_RESOURCE_BODY_SIZE, Integer.parseInt(told.get("body_max")));
        configuration.set(DtlsConfig.DTLS_CONNECTION_ID_LENGTH, told.get("cid").equals("on") ? 0 : null);
        return configuration;
    }

    /** Starts with what it is by now: a fresh client on a fresh port, as after a reboot. */
    private void boot() {
        ObjectsInitializer objects = new ObjectsInitializer();
        objects.setInstancesForObject(LwM2mId.SECURITY, security());
        objects.setInstancesForObject(LwM2mId.SERVER, new Server(1, Long.parseLong(told.get("lifetime"))));
        objects.setInstancesForObject(LwM2mId.DEVICE, new About());
        objects.setInstancesForObject(LwM2mId.FIRMWARE, firmware);
        // Nobody makes further instances of these; Leshan asks for who would.
        for (int object : new int[] { LwM2mId.DEVICE, LwM2mId.FIRMWARE }) {
            objects.setFactoryForObject(object, (model, id, used) -> null);
        }
        CaliforniumClientEndpointsProvider.Builder endpoints = new CaliforniumClientEndpointsProvider.Builder(
                new CoapClientProtocolProvider(), new CoapsClientProtocolProvider());
        endpoints.setConfiguration(configure(endpoints.createDefaultConfiguration()));
        endpoints.setClientAddress(InetAddress.getLoopbackAddress());
        LeshanClientBuilder builder = new LeshanClientBuilder(told.get("name"));
        builder.setObjects(objects.createAll());
        builder.setEndpointsProviders(endpoints.build());
        client = builder.build();
        client.addObserver(new Teller());
        client.start();
    }

    /** Goes away without a word and comes back. What Leshan ends there may wait for ever for a notification on its way. */
    private void reboot() {
        LeshanClient former = client;
        Thread end = new Thread(() -> former.destroy(false));
        end.setDaemon(true);
        end.start();
        try {
            end.join(TimeUnit.SECONDS.toMillis(2));
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
        boot();
    }

    /** Tells the test how the registration goes. */
    private static final class Teller extends LwM2mClientObserverAdapter {
        @Override
        public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String id) {
            say("registered");
        }

        @Override
        public void onRegistrationFailure(LwM2mServer server, RegisterRequest request, ResponseCode code, String message,
                Exception cause) {
            say("refused " + code + " " + message);
        }

        @Override
        public void onRegistrationTimeout(LwM2mServer server, RegisterRequest request) {
            say("no answer");
        }

        @Override
        public void onUpdateSuccess(LwM2mServer server, UpdateRequest request) {
            say("updated");
        }

        @Override
        public void onUnexpectedError(Throwable error) {
            say("broken " + error);
        }
    }

    /** Object 3. */
    private final class About extends BaseInstanceEnabler {
        @Override
        public ReadResponse read(LwM2mServer server, int resource) {
            switch (resource) {
            case 0:
                return ReadResponse.success(resource, "Leshan Works");
            case 1:
                return ReadResponse.success(resource, "leshan-sensor");
            case 2:
                return ReadResponse.success(resource, "SN-1");
            case 3:
                return ReadResponse.success(resource, version);
            case 9:
                return ReadResponse.success(resource, 93);
            case 11:
                return ReadResponse.success(resource, Map.of(0, 0L), ResourceModel.Type.INTEGER);
            case 16:
                return ReadResponse.success(resource, "U");
            default:
                return ReadResponse.notFound();
            }
        }

        @Override
        public List<Integer> getAvailableResourceIds(ObjectModel model) {
            return List.of(0, 1, 2, 3, 9, 11, 16);
        }
    }

    /**
     * Object 5: outlives reboots, as if it were in flash. It takes no lock: Leshan holds one of its own while it asks, and
     * wants the same one while it is told of a change.
     */
    private final class Firmware extends BaseInstanceEnabler {
        private volatile int state;
        private volatile int result;
        private volatile String uri = "";
        private volatile byte[] image;

        @Override
        public ReadResponse read(LwM2mServer server, int resource) {
            switch (resource) {
            case 1:
                return ReadResponse.success(resource, uri);
            case 3:
                return ReadResponse.success(resource, state);
            case 5:
                return ReadResponse.success(resource, result);
            case 8:
                Map<Integer, Long> schemes = new HashMap<>();
                for (String scheme : told.get("schemes").split(",")) {
                    schemes.put(schemes.size(), Long.valueOf(scheme));
                }
                return ReadResponse.success(resource, schemes, ResourceModel.Type.INTEGER);
            case 9:
                return ReadResponse.success(resource, List.of("pull", "push", "both").indexOf(told.get("method")));
            default:
                return ReadResponse.methodNotAllowed();
            }
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int resource, LwM2mResource value) {
            if (resource == 0) {
                return takePackage((byte[]) value.getValue());
            }
            return resource == 1 ? takeUri((String) value.getValue()) : WriteResponse.methodNotAllowed();
        }

        private WriteResponse takePackage(byte[] bytes) {
            if (bytes.length == 0 || (bytes.length == 1 && bytes[0] == 0)) {
                move(0, 0);
                return WriteResponse.success();
            }
            if (state != 0) {
                return WriteResponse.badRequest("reset first");
            }
            say("pushed " + bytes.length);
            move(1, 0);
            work.submit(() -> check(bytes));
            return WriteResponse.success();
        }

        private WriteResponse takeUri(String where) {
            if (where.isEmpty()) {
                uri = "";
                move(0, 0);
                return WriteResponse.success();
            }
            if (state != 0) {
                return WriteResponse.badRequest("reset first");
            }
            uri = where;
            move(1, 0);
            work.submit(() -> pull(where));
            return WriteResponse.success();
        }

        @Override
        public ExecuteResponse execute(LwM2mServer server, int resource, Arguments words) {
            if (resource != 2 || state != 2) {
                return ExecuteResponse.methodNotAllowed();
            }
            move(3, 0);
            work.submit(this::install);
            return ExecuteResponse.success();
        }

        @Override
        public List<Integer> getAvailableResourceIds(ObjectModel model) {
            return List.of(0, 1, 2, 3, 5, 8, 9);
        }

        private void move(int state, int result) {
            this.state = state;
            this.result = result;
            say("state " + state + " result " + result);
            fireResourceChange(3);
            fireResourceChange(5);
        }

        private void pull(String where) {
            try {
                CoapResponse response = fetch(where);
                if (response == null) {
                    move(0, 4);
                } else if (!response.isSuccess()) {
                    say("pull " + response.getCode());
                    move(0, 7);
                } else {
                    say("pulled " + response.getPayloadSize());
                    check(response.getPayload());
                }
            } catch (Exception error) {
                say("pull " + error);
                move(0, 4);
            }
        }

        private void check(byte[] bytes) {
            try {
                int line = 0;
                while (bytes[line] != '\n') {
                    line += 1;
                }
                String[] words = new String(bytes, 0, line, StandardCharsets.US_ASCII).split(" ");
                byte[] body = Arrays.copyOfRange(bytes, line + 1, bytes.length);
                byte[] digest = MessageDigest.getInstance("SHA-256").digest(body);
                boolean whole = HexFormat.of().formatHex(digest).equals(words[1]);
                image = bytes;
                move(whole ? 2 : 0, whole ? 0 : 5);
            } catch (Exception error) {
                say("check " + error);
                move(0, 6);
            }
        }

        private void install() {
            boolean works = told.get("boots").equals("well");
            if (works) {
                version = new String(image, StandardCharsets.US_ASCII).split(" ", 2)[0];
            }
            uri = "";
            state = 0;
            result = works ? 1 : 8;
            say("reboot into " + version);
            reboot();
        }
    }

    /** GET with Californium's own blocks; over DTLS with the device's own key, in a session of its own. */
    private CoapResponse fetch(String where) throws Exception {
        Configuration configuration = configure(Configuration.createStandardWithoutFile());
        CoapEndpoint.Builder endpoint = new CoapEndpoint.Builder().setConfiguration(configuration);
        InetSocketAddress any = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
        if (where.startsWith("coaps:")) {
            DtlsConnectorConfig.Builder dtls = DtlsConnectorConfig.builder(configuration);
            dtls.setAddress(any);
            dtls.setPskStore(new SinglePskStore(told.get("identity"), key()));
            endpoint.setConnector(new DTLSConnector(dtls.build()));
        } else {
            endpoint.setInetSocketAddress(any);
        }
        CoapClient fetcher = new CoapClient(new URI(where));
        CoapEndpoint built = endpoint.build();
        fetcher.setEndpoint(built);
        fetcher.setTimeout(TimeUnit.SECONDS.toMillis(100));
        try {
            return fetcher.get();
        } finally {
            fetcher.shutdown();
            built.destroy();
        }
    }
}
